//! Models of images.

mod image;
