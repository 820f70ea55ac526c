//! Machines beside each other: one alone keeps about one core busy, whatever it has.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use super::lab::Lab;
use crate::report::{Outcome, Report};

/// A test that needs nothing of the others.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    run: Box<dyn Fn(&Lab) -> Outcome + Sync + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl Fn(&Lab) -> Outcome + Sync + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// Runs the cases, two at a time, and tells of each as it ends.
pub(crate) fn run(report: &mut Report, lab: &Lab, cases: &[Case<'_>]) {
    let Some(labs) = report.need("there is room for two machines", || Ok([lab.beside(1)?, lab.beside(1)?])) else {
        return;
    };
    let next = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for lab in &labs {
            let (next, tell) = (&next, tell.clone());
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let outcome = (case.run)(lab);
                    // The other end lives as long as this scope.
                    let _ = tell.send((&case.name, start.elapsed(), outcome));
                }
            });
        }
        drop(tell);
        for (name, time, outcome) in told {
            report.done(name, time, outcome);
        }
    });
}
