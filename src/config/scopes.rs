//! What names in a workload file refer to: those of the file, and within a repetition its own names first.

use std::collections::BTreeMap;

use crate::config::diagnostics::{Cited, Diagnostic, Offers, quoted};
use crate::config::field::Field;
use crate::workload::layer::ValueRef;
use crate::workload::tensor_description::SourceTensorId;

/// A scope of [`Scopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeId(usize);

/// Names by scope. The first scope is that of the file.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    scopes: Vec<Scope>,
    offers: Offers,
}

#[derive(Debug)]
struct Scope {
    parent: Option<ScopeId>,
    by_name: BTreeMap<String, ValueRef>,
}

impl Scopes {
    /// A new scope within `parent`.
    pub(crate) fn open(&mut self, parent: Option<ScopeId>) -> ScopeId {
        self.scopes.push(Scope { parent, by_name: BTreeMap::new() });
        ScopeId(self.scopes.len() - 1)
    }

    /// Gives `name` a meaning in `scope`.
    pub(crate) fn define(&mut self, scope: ScopeId, name: &str, value: ValueRef) {
        self.scopes[scope.0].by_name.insert(name.to_owned(), value);
    }

    /// What `name` means in `scope` itself, not in those around it.
    pub(crate) fn local(&self, scope: ScopeId, name: &str) -> Option<ValueRef> {
        self.scopes[scope.0].by_name.get(name).copied()
    }

    /// The names that can be used in `scope`.
    pub(crate) fn values(&self, scope: ScopeId) -> Values<'_> {
        Values { scopes: self, scope }
    }
}

/// What a name in a layer may refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'s> {
    scopes: &'s Scopes,
    scope: ScopeId,
}

impl Values<'_> {
    /// The tensor or layer that `field` names.
    pub(crate) fn value(&self, field: &Field<String>) -> Result<ValueRef, Diagnostic> {
        self.find(field, "tensor or layer", |_| true)
    }

    /// The tensor that `field` names.
    pub(crate) fn tensor(&self, field: &Field<String>) -> Result<SourceTensorId, Diagnostic> {
        match self.find(field, "tensor", |value| matches!(value, ValueRef::Source(_)))? {
            ValueRef::Source(id) => Ok(id),
            ValueRef::Layer(_) => {
                Err(field.problem("this is a layer; the name of a tensor is expected here, for its values are given"))
            }
        }
    }

    /// The tensor that `field` names, if it is given.
    pub(crate) fn optional_tensor(&self, field: &Field<String>) -> Result<Option<SourceTensorId>, Diagnostic> {
        if field.is_given() { self.tensor(field).map(Some) } else { Ok(None) }
    }

    /// Offers those values that are `expected`, but finds all.
    fn find(
        &self,
        field: &Field<String>,
        kind: &str,
        expected: impl Fn(&ValueRef) -> bool,
    ) -> Result<ValueRef, Diagnostic> {
        let name = field.required().text()?;
        let around = |id: &ScopeId| self.scopes.scopes[id.0].parent;
        let visible = || std::iter::successors(Some(self.scope), around).map(|id| &self.scopes.scopes[id.0].by_name);
        if let Some(value) = visible().find_map(|by_name| by_name.get(&name)) {
            return Ok(*value);
        }
        let names = || visible().flatten().filter(|(_, value)| expected(value)).map(|(name, _)| name.as_str());
        let problem = field.problem(format!("there is no {kind} called {}", quoted(&name)));
        Err(self.scopes.offers.offer(problem, &name, "known", names))
    }
}
