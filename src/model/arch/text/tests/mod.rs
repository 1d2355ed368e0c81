//! Tiny models with weights from a seed, in memory, against a plain reference in `f64`.

pub(super) mod folder;
mod heads;
mod hostile;
mod networks;
mod reference;
