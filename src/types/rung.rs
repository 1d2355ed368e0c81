//! The rungs of a ladder: the ways of answering a request, from the best to the last.

use std::str::FromStr;

/// A way of answering a request. After the first that a model has, the others stand in where it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RungKind {
    /// The model, in the process of its device.
    Worker,
    /// The model, on the server's own cores.
    Cpu,
    /// Another version of the model.
    Version,
    /// Another model.
    Model,
    /// A prediction that was declared, or remembered.
    Prediction,
}

impl RungKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Worker, Self::Cpu, Self::Version, Self::Model, Self::Prediction];

    /// The label under which it is counted, told and permitted.
    pub fn label(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Cpu => "cpu",
            Self::Version => "version",
            Self::Model => "model",
            Self::Prediction => "prediction",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The rungs that may answer where the first cannot, as a request's `fallback` parameter says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallbacks(u8);

impl Fallbacks {
    /// Whatever the model declares.
    pub const ALL: Self = Self(u8::MAX);
    /// None: the first rung answers, or nothing does.
    pub const NONE: Self = Self(0);
    /// The rungs that can be named; the worker is always the first.
    pub const NAMED: [RungKind; 4] = [RungKind::Cpu, RungKind::Version, RungKind::Model, RungKind::Prediction];

    /// May a rung of this kind answer, where it is not the first?
    pub fn permits(self, kind: RungKind) -> bool {
        self.0 & kind.bit() != 0
    }
}

impl Default for Fallbacks {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromStr for Fallbacks {
    type Err = ();

    /// Reads `none`, or labels separated by commas.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        text.split(',').try_fold(Self::NONE, |permitted, label| {
            let kind = Self::NAMED.into_iter().find(|kind| kind.label() == label.trim()).ok_or(())?;
            Ok(Self(permitted.0 | kind.bit()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Fallbacks, RungKind};

    #[test]
    fn what_is_named_is_permitted_and_nothing_else() {
        let permitted = |text: &str| {
            let fallbacks: Fallbacks = text.parse().expect(text);
            RungKind::ALL.into_iter().filter(|kind| fallbacks.permits(*kind)).collect::<Vec<_>>()
        };
        assert_eq!(permitted("none"), []);
        assert_eq!(permitted("cpu"), [RungKind::Cpu]);
        assert_eq!(permitted("prediction, version,prediction"), [RungKind::Version, RungKind::Prediction]);
        assert!(RungKind::ALL.into_iter().all(|kind| Fallbacks::default().permits(kind)));
        for wrong in ["", "all", "worker", "none,cpu", "cpu,", "CPU", "cpu;model"] {
            assert!(wrong.parse::<Fallbacks>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::HashSet<_> = RungKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), RungKind::ALL.len());
    }
}
