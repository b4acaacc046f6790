//! What a study found, made from its journal: a table of all points, the front, and what the metrics hang on. The same
//! bytes whoever simulated the points, in whatever order.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::study::{Goal, Metric, Study};
use crate::config::study_mode::Mode;
use crate::explore::journal::{Header, Record, RecordedOutcome};
use crate::explore::nsga2::Fitness;
use crate::explore::pareto;
use crate::explore::sampler::{Plan, asked_beyond};
use crate::explore::sensitivity::{Sensitivity, rank_correlation};
use crate::explore::space::Space;

/// What stands before the names of metrics in tables of estimates.
const ESTIMATED: &str = "estimated_";

/// Version of the fields of a summary.
pub const SCHEMA_VERSION: u32 = 1;

/// What a study found.
#[derive(Clone, Debug, Serialize)]
pub struct StudySummary {
    /// Version of these fields.
    pub schema_version: u32,
    /// Version of the program that made it.
    pub npusim_version: String,
    /// Name of the study.
    pub study: String,
    /// The study file.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Digest of all files of the study.
    pub fingerprint: String,
    /// How points were evaluated: `simulate`; `estimate`, where all metrics are estimates; or `prune`, where all points were
    /// estimated and those below simulated.
    pub mode: &'static str,
    /// Points that were left out after their estimates.
    pub pruned: u64,
    /// Points that were tried.
    pub points: u64,
    /// How many the sampler asks for, where the space has fewer: then each of them is done once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_points: Option<u64>,
    /// Of these, those that could not be simulated.
    pub failed: u64,
    /// Of these, those at which the program panicked.
    pub panicked: u64,
    /// Points that were simulated and break a constraint.
    pub infeasible: u64,
    /// What was looked for, as `minimize METRIC` or `maximize METRIC`.
    pub objectives: Vec<String>,
    /// Feasible points that no other feasible point dominates, in the order of the first objective.
    pub front: Vec<FrontPoint>,
    /// For each objective, the worst value of any feasible point.
    pub reference: Vec<f64>,
    /// Volume between the front and the reference, as a share of the box between the best value of each objective and the
    /// reference: 1 where one point is best in everything. None where an objective does not vary.
    pub hypervolume: Option<f64>,
    /// Rank correlation of each parameter that is a number with each metric, over all points that were simulated.
    pub sensitivities: Vec<Sensitivity>,
    /// Reasons of failures, with how many points each kept from being simulated.
    pub failures: BTreeMap<String, u64>,
}

/// A point on the front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontPoint {
    /// Its number.
    pub index: u64,
    /// The value of each parameter.
    pub parameters: BTreeMap<String, String>,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
}

/// A study with its records, in the order of their numbers.
#[derive(Clone, Copy)]
pub struct Findings<'s> {
    /// The study.
    pub study: &'s Study,
    /// Its space.
    pub space: &'s Space<'s>,
    /// The header of its journal.
    pub header: &'s Header,
    /// The points.
    pub records: &'s [Record],
}

/// How good a record is by the objectives and constraints of `study`.
pub fn fitness(study: &Study, outcome: &RecordedOutcome) -> Fitness {
    let RecordedOutcome::Metrics(metrics) = outcome else { return Fitness::Failed };
    let value = |metric: Metric| metrics.get(metric.name()).copied();
    let objectives = study.objectives.iter().map(|objective| {
        value(objective.metric).map(|value| match objective.goal {
            Goal::Minimize => value,
            Goal::Maximize => -value,
        })
    });
    let Some(objectives) = objectives.collect::<Option<Vec<f64>>>() else { return Fitness::Failed };
    let mut broken_by = 0.0;
    for constraint in &study.constraints {
        let Some(value) = value(constraint.metric) else { return Fitness::Failed };
        let limits = [constraint.at_least.map(|least| least - value), constraint.at_most.map(|most| value - most)];
        let limit = constraint.at_least.or(constraint.at_most).unwrap_or(1.0);
        let scale = if limit == 0.0 { 1.0 } else { limit.abs() };
        broken_by += limits.into_iter().flatten().map(|by| by.max(0.0) / scale).sum::<f64>();
    }
    if broken_by > 0.0 { Fitness::Breaking(broken_by) } else { Fitness::Feasible(objectives) }
}

/// A record by its position, with its objectives, all minimised.
type Scored = (usize, Vec<f64>);

/// The parameters of a point as far as they are numbers, and what was measured there.
type MeasuredPoint<'r> = (Vec<Option<f64>>, &'r BTreeMap<String, f64>);

impl Findings<'_> {
    /// Positions among the records of the points on the front, ascending, with their objectives.
    fn front(&self) -> (Vec<Scored>, Vec<Vec<f64>>) {
        let feasible: Vec<Scored> = self
            .records
            .iter()
            .enumerate()
            .filter_map(|(position, record)| match fitness(self.study, &record.outcome) {
                Fitness::Feasible(objectives) => Some((position, objectives)),
                Fitness::Breaking(_) | Fitness::Failed => None,
            })
            .collect();
        let points: Vec<Vec<f64>> = feasible.iter().map(|(_, objectives)| objectives.clone()).collect();
        let front = pareto::front(&points).into_iter().map(|index| feasible[index].clone()).collect();
        (front, points)
    }

    fn parameters(&self, record: &Record) -> Vec<(String, String)> {
        let values = self.space.values(&record.choice).unwrap_or_default();
        values.into_iter().map(|value| (value.parameter.name.clone(), value.text)).collect()
    }

    /// The summary.
    pub fn summary(&self) -> StudySummary {
        let count = |is: fn(&RecordedOutcome) -> bool| self.records.iter().filter(|record| is(&record.outcome)).count();
        let failed = count(|outcome| !matches!(outcome, RecordedOutcome::Metrics(_))) as u64;
        let panicked = count(|outcome| matches!(outcome, RecordedOutcome::Panic(_))) as u64;
        let is_broken = |record: &&Record| matches!(fitness(self.study, &record.outcome), Fitness::Breaking(_));
        let infeasible = self.records.iter().filter(is_broken).count() as u64;
        let (mut front, feasible) = self.front();
        front.sort_by(|(a, first), (b, second)| first[0].total_cmp(&second[0]).then(a.cmp(b)));
        let objectives = 0..self.study.objectives.len();
        let worst: Vec<f64> = objectives
            .clone()
            .map(|objective| feasible.iter().map(|point| point[objective]).fold(f64::NEG_INFINITY, f64::max))
            .collect();
        let best =
            objectives.map(|objective| feasible.iter().map(|point| point[objective]).fold(f64::INFINITY, f64::min));
        let extent: f64 = worst.iter().zip(best).map(|(worst, best)| worst - best).product();
        let on_front: Vec<Vec<f64>> = front.iter().map(|(_, objectives)| objectives.clone()).collect();
        let volume = pareto::hypervolume(&on_front, &worst);
        let signs =
            self.study.objectives.iter().map(|objective| if objective.goal == Goal::Minimize { 1.0 } else { -1.0 });
        let reference =
            if feasible.is_empty() { Vec::new() } else { worst.iter().zip(signs).map(|(w, s)| w * s).collect() };
        let mut failures = BTreeMap::new();
        for record in self.records {
            if let RecordedOutcome::Error(reason) | RecordedOutcome::Panic(reason) = &record.outcome {
                *failures.entry(first_line(reason).to_owned()).or_insert(0) += 1;
            }
        }
        StudySummary {
            schema_version: SCHEMA_VERSION,
            npusim_version: self.header.npusim_version.clone(),
            study: self.study.name.clone(),
            file: self.header.file.clone(),
            text: self.header.text.clone(),
            fingerprint: self.header.fingerprint.clone(),
            mode: self.study.mode.name(),
            pruned: match &self.header.kept {
                None => 0,
                Some(kept) => {
                    let all = Plan::new(self.space, self.study.sampler).map_or(0, |plan| plan.points());
                    all.saturating_sub(kept.len() as u64)
                }
            },
            points: self.records.len() as u64,
            asked_points: asked_beyond(self.space, self.study.sampler),
            failed,
            panicked,
            infeasible,
            objectives: self.study.objectives.iter().map(|objective| objective.to_string()).collect(),
            front: front.iter().map(|(position, _)| self.front_point(&self.records[*position])).collect(),
            reference,
            hypervolume: (extent.is_finite() && extent > 0.0).then(|| volume / extent),
            sensitivities: self.sensitivities(),
            failures,
        }
    }

    fn front_point(&self, record: &Record) -> FrontPoint {
        let metrics = match &record.outcome {
            RecordedOutcome::Metrics(metrics) => metrics.clone(),
            RecordedOutcome::Error(_) | RecordedOutcome::Panic(_) => BTreeMap::new(),
        };
        FrontPoint { index: record.index, parameters: self.parameters(record).into_iter().collect(), metrics }
    }

    fn sensitivities(&self) -> Vec<Sensitivity> {
        let measured: Vec<MeasuredPoint<'_>> = self
            .records
            .iter()
            .filter_map(|record| match &record.outcome {
                RecordedOutcome::Metrics(metrics) => {
                    let values = self.space.values(&record.choice).ok()?;
                    Some((values.iter().map(|value| value.number).collect(), metrics))
                }
                RecordedOutcome::Error(_) | RecordedOutcome::Panic(_) => None,
            })
            .collect();
        let mut sensitivities = Vec::new();
        for (position, parameter) in self.study.parameters.iter().enumerate() {
            for metric in Metric::ALL {
                let pairs = measured
                    .iter()
                    .filter_map(|(numbers, metrics)| Some((numbers[position]?, *metrics.get(metric.name())?)));
                let (x, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
                if let Some((rank_correlation, p_value)) = rank_correlation(&x, &y) {
                    let (parameter, metric) = (parameter.name.clone(), metric.name().to_owned());
                    sensitivities.push(Sensitivity { parameter, metric, rank_correlation, p_value, points: x.len() });
                }
            }
        }
        sensitivities
    }

    /// All points as a table: number, parameters, metrics, whether feasible and on the front, and the reason of a failure.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = self.study.parameters.iter().map(|parameter| parameter.name.as_str());
        let metrics = Metric::ALL.map(Metric::name);
        let is_estimated = self.study.mode == Mode::Estimate;
        let columns = metrics.map(|name| if is_estimated { format!("{ESTIMATED}{name}") } else { name.to_owned() });
        let columns = columns.iter().map(String::as_str);
        let head = std::iter::once("index").chain(names).chain(columns).chain(["feasible", "front", "error"]);
        let written = "a table is written to memory";
        writer.write_record(head).expect(written);
        let (front, _) = self.front();
        let mut on_front = front.iter().map(|(position, _)| *position).peekable();
        for (position, record) in self.records.iter().enumerate() {
            let mut cells = vec![record.index.to_string()];
            let mut parameters = self.parameters(record).into_iter().map(|(_, text)| text);
            cells.extend((0..self.study.parameters.len()).map(|_| parameters.next().unwrap_or_default()));
            let (values, error) = match &record.outcome {
                RecordedOutcome::Metrics(values) => (Some(values), String::new()),
                RecordedOutcome::Error(reason) | RecordedOutcome::Panic(reason) => {
                    (None, first_line(reason).to_owned())
                }
            };
            let cell = |name: &str| values.and_then(|values| values.get(name)).map(f64::to_string).unwrap_or_default();
            cells.extend(metrics.map(cell));
            let is_feasible = matches!(fitness(self.study, &record.outcome), Fitness::Feasible(_));
            let is_on_front = on_front.next_if_eq(&position).is_some();
            cells.extend([is_feasible.to_string(), is_on_front.to_string(), error]);
            writer.write_record(&cells).expect(written);
        }
        String::from_utf8(writer.into_inner().expect(written)).expect("text was written")
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The summary as JSON.
pub fn to_json(summary: &StudySummary) -> String {
    let text = serde_json::to_string_pretty(summary).expect("string keys and plain values");
    format!("{text}\n")
}
