//! Preprocessing as timm's `pretrained_cfg` says: `timm.data.create_transform` for evaluation.

use super::{Crop, Half, Recipe, Resize, Sides, by_colour, enlarged};
use crate::model::LoadError;
use crate::model::arch::vision::SIDE_MAX;
use crate::model::arch::vision::image::{Filter, First};
use crate::model::json::Json;

const FILTERS: [(&str, Filter); 3] =
    [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic), ("lanczos", Filter::Lanczos)];
const CROP_PCT: f64 = 0.875;
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Reads `pretrained_cfg` of timm's config.json; `None` if there is none. Errors: something that would change pixels and is not
/// supported.
pub(in crate::model::arch::vision) fn timm(config: &Json) -> Result<Option<Recipe>, LoadError> {
    let Some(config) = config.object("pretrained_cfg")? else { return Ok(None) };
    let (width, height) = size(&config)?;
    let filter = match config.text("interpolation")? {
        None => Filter::Bicubic,
        Some(name) => {
            let known = FILTERS.iter().find(|(known, _)| *known == name);
            known.ok_or_else(|| config.unexpected("interpolation", "bilinear, bicubic or lanczos"))?.1
        }
    };
    let crop_pct = config.number("crop_pct", 0.05..=1.0)?.unwrap_or(CROP_PCT);
    let to = match config.text("crop_mode")? {
        Some("squash") => Sides::Both(enlarged(width, crop_pct), enlarged(height, crop_pct)),
        Some("center") | None if width == height => Sides::Shorter(enlarged(width, crop_pct)),
        Some("center") | None => return Err(config.unexpected("input_size", "a square, to be cut out of the center")),
        Some(_) => return Err(config.unexpected("crop_mode", "center or squash")),
    };
    let mean = config.numbers("mean", -1e3..=1e3)?.unwrap_or(MEAN);
    let std = config.numbers("std", 1e-6..=1e6)?.unwrap_or(STD);
    Ok(Some(Recipe {
        on_white: false,
        resize: Some(Resize { to, filter, first: First::Cheaper }),
        crop: Some(Crop { width, height, half: Half::Even }),
        center: by_colour(mean, 255.0),
        spread: by_colour(std, 255.0),
    }))
}

/// Width and height of `input_size`, which has the colours before them.
fn size(config: &Json) -> Result<(usize, usize), LoadError> {
    match config.sizes("input_size", 1..=SIDE_MAX)?.as_deref() {
        None => Ok((224, 224)),
        Some([3, height, width]) => Ok((*width, *height)),
        Some(_) => Err(config.error("input_size", "expected 3 colours, a height and a width")),
    }
}
