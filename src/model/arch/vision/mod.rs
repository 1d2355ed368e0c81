//! Classifiers of images, from Hugging Face folders and timm's.
//!
//! `image` decodes and resizes, `processor` reads how a folder wants its images prepared, `images` makes a model's rows of them,
//! `classifier` puts a model together, and `vit` and `resnet` build the networks.

mod classifier;
mod image;
mod images;
mod processor;
pub(crate) mod resnet;
#[cfg(test)]
mod tests;
pub(crate) mod vit;

/// Largest side of what a model takes.
const SIDE_MAX: usize = 2048;
