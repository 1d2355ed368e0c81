//! The checks, a file for each kernel: it must do what its twin does.

pub(crate) mod activate;
pub(crate) mod attend;
pub(crate) mod embed;
pub(crate) mod norm;
pub(crate) mod pack;
pub(crate) mod pool;
pub(crate) mod rotate;
pub(crate) mod score;
