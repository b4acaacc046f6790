//! `npusim schema`.

use std::process::ExitCode;

use crate::cli::arguments::SchemaArguments;
use crate::cli::{CliError, print};
use crate::config::diagnostics::nearest;
use crate::config::schema::{self, SchemaKind};

pub(super) fn run(arguments: &SchemaArguments) -> Result<ExitCode, CliError> {
    let names = SchemaKind::ALL.map(SchemaKind::name);
    let Some(kind) = SchemaKind::ALL.into_iter().find(|kind| kind.name() == arguments.kind) else {
        let near = nearest(&arguments.kind, names.iter().copied());
        return Err(CliError::unknown("schema", &arguments.kind, near, &names));
    };
    print(&schema::schema(kind))?;
    Ok(ExitCode::SUCCESS)
}
