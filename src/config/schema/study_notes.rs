//! What each key of a study means; see [`notes`](crate::config::schema::notes).

use crate::config::schema::notes::{Note, names, note, whole};
use crate::config::study::{MOST_POINTS, Metric};

/// Keys of studies.
pub(super) fn study() -> Vec<Note> {
    let metrics = || Metric::ALL.map(Metric::name);
    let seed = |path: &str| note(path, "Seed that decides which points; 0 if left out.");
    let points = |path: &str, most| whole(path, 1, most, "How many points.");
    vec![
        note("name", "Name of the study in reports."),
        note("hardware", "Hardware file: a built-in name, or a path from the folder of this file."),
        note("workload", "Workload file, in the same way."),
        note("scheme", "Scheme file, in the same way."),
        note("numerics", "Whether numbers are computed too, where the workload has values; false if left out."),
        names(
            "mode",
            ["simulate", "estimate", "prune"],
            "How points are evaluated: all simulated (also if left out), all estimated, or estimated and the best simulated.",
        ),
        note("keep", "Share of the points that mode: prune simulates, above 0 and at most 1; 0.1 if left out."),
        note("set", "Values that are other than in the files at every point."),
        note("set[].path", "Path of the value, such as memories.dram.dram.bytes_per_cycle."),
        note("set[].value", "The value as it would be written there."),
        note("parameters", "What varies. An expression depends on parameters above it."),
        note("parameters[].name", "Its name in results and expressions."),
        note(
            "parameters[].path",
            "The place, or list of places, that takes its value; hardware, workload or scheme for a whole file. Without one, only expressions use it.",
        ),
        note("parameters[].values", "The values, one after the other."),
        note("parameters[].range", "Numbers at equal steps."),
        note("parameters[].range.from", "The first number."),
        note("parameters[].range.to", "Where they end; met if it lies on a step."),
        note("parameters[].range.step", "The step, above 0."),
        note("parameters[].log_range", "Numbers at equal factors."),
        note("parameters[].log_range.from", "The first number, above 0."),
        note("parameters[].log_range.to", "Where they end; met if it lies on a factor."),
        note("parameters[].log_range.factor", "The factor, above 1; 2 if left out."),
        note(
            "parameters[].expression",
            "An expression of parameters above: numbers, names, + - * / ^ and parentheses.",
        ),
        note("parameters[].unit", "What stands behind each number in the file, such as KiB."),
        note("sampler", "How points are picked; every combination if left out."),
        note("sampler.random", "Each value with equal probability."),
        points("sampler.random.points", MOST_POINTS),
        seed("sampler.random.seed"),
        note("sampler.latin_hypercube", "The values of each parameter take equal shares of the points."),
        points("sampler.latin_hypercube.points", MOST_POINTS),
        seed("sampler.latin_hypercube.seed"),
        note("sampler.sobol", "The first points of an Owen-scrambled Sobol sequence."),
        points("sampler.sobol.points", 1 << 16),
        seed("sampler.sobol.seed"),
        note("sampler.nsga2", "A genetic search for the front of the objectives."),
        note("sampler.nsga2.population", "Points of a generation: an even number from 4 to 10000."),
        whole("sampler.nsga2.generations", 1, 10_000, "Generations after the first."),
        seed("sampler.nsga2.seed"),
        note("objectives", "What is looked for: points that no other beats in all of these are the front."),
        names("objectives[].metric", metrics(), "What is measured."),
        names("objectives[].goal", ["minimize", "maximize"], "Which way it is better; each metric has a usual one."),
        note("constraints", "What a point must keep to."),
        names("constraints[].metric", metrics(), "What is measured."),
        note("constraints[].at_most", "The most that is allowed."),
        note("constraints[].at_least", "The least that is allowed."),
    ]
}
