//! Preprocessing as `preprocessor_config.json` says, by the rules of transformers' image processors on torchvision.

use std::ops::RangeInclusive;

use super::{Crop, Half, Recipe, Resize, Sides, by_colour, enlarged};
use crate::model::arch::vision::SIDE_MAX;
use crate::model::arch::vision::image::{Filter, First};
use crate::model::json::Json;
use crate::model::{Files, LoadError};

const FILE: &str = "preprocessor_config.json";
const SIDES: RangeInclusive<usize> = 1..=SIDE_MAX;
/// By Pillow's numbers.
const FILTERS: [Filter; 4] = [Filter::Nearest, Filter::Lanczos, Filter::Bilinear, Filter::Bicubic];
/// A square of this side or a larger one is not cut by `ConvNeXT`'s processor.
const UNCUT_SIDE: usize = 384;
const CROP_PCT: f64 = 224.0 / 256.0;
/// What changes pixels and is not computed here.
const UNSUPPORTED: [&str; 6] =
    ["do_pad", "do_flip_channel_order", "do_reduce_labels", "do_thumbnail", "do_align_long_axis", "rescale_offset"];
const HALF: [f64; 3] = [0.5; 3];
const CLIP: ([f64; 3], [f64; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);

/// A class of image processors: its own rules, and what it does where the file leaves something out.
pub(in crate::model::arch::vision) struct Kind {
    /// Its name, without an ending.
    name: &'static str,
    size: Size,
    filter: usize,
    /// Side of the square that it cuts out.
    crop: Option<usize>,
    colours: ([f64; 3], [f64; 3]),
    /// Does it convert to RGB on white?
    converts: bool,
    /// Does it enlarge by `crop_pct` and cut?
    is_convnext: bool,
}

/// What a side alone means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Square(usize),
    Shorter(usize),
}

impl Kind {
    pub(in crate::model::arch::vision) const VIT: Self = Self {
        name: "ViT",
        size: Size::Square(224),
        filter: 2,
        crop: None,
        colours: (HALF, HALF),
        converts: false,
        is_convnext: false,
    };
    pub(in crate::model::arch::vision) const CONVNEXT: Self = Self {
        name: "ConvNext",
        size: Size::Shorter(384),
        filter: 3,
        crop: None,
        colours: (HALF, HALF),
        converts: false,
        is_convnext: true,
    };
    const DEIT: Self =
        Self { name: "DeiT", size: Size::Square(256), filter: 3, crop: Some(224), colours: (HALF, HALF), ..Self::VIT };
    const BIT: Self = Self {
        name: "Bit",
        size: Size::Shorter(224),
        filter: 3,
        crop: Some(224),
        colours: CLIP,
        converts: true,
        ..Self::VIT
    };
    const CLIP: Self = Self { name: "CLIP", ..Self::BIT };
    const ALL: [Self; 5] = [Self::VIT, Self::CONVNEXT, Self::DEIT, Self::BIT, Self::CLIP];
}

/// Reads the file; `None` if there is none. `usual` is the class of the model's family, where the file names none.
///
/// Errors: a class that is not known, or something that would change pixels and is not supported.
pub(in crate::model::arch::vision) fn hub(files: &Files, usual: Kind) -> Result<Option<Recipe>, LoadError> {
    let Some(config) = Json::find(files, FILE)? else { return Ok(None) };
    for key in UNSUPPORTED {
        if config.get(key).is_some_and(|value| value.as_bool() != Some(false)) {
            return Err(config.error(key, "images are not prepared so here"));
        }
    }
    let kind = kind(&config, usual)?;
    let (resize, cut) = resize(&config, &kind)?;
    let crop = match crop(&config, &kind)? {
        Some(_) if cut.is_some() => {
            return Err(config.error("do_center_crop", "the image is cut already, by `crop_pct`"));
        }
        crop => crop.or(cut),
    };
    let (center, spread) = colours(&config, &kind)?;
    let on_white = config.flag("do_convert_rgb")?.unwrap_or(kind.converts);
    let recipe = Recipe { on_white, resize, crop, center, spread };
    if recipe.size().is_none() {
        return Err(config.error("size", "images would have different sizes; a model here takes one"));
    }
    Ok(Some(recipe))
}

fn kind(config: &Json, usual: Kind) -> Result<Kind, LoadError> {
    let key =
        if config.get("image_processor_type").is_some() { "image_processor_type" } else { "feature_extractor_type" };
    let Some(name) = config.text(key)? else { return Ok(usual) };
    let bare = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"];
    let bare = bare.iter().find_map(|end| name.strip_suffix(end));
    let known = Kind::ALL.into_iter().find(|kind| bare == Some(kind.name));
    known.ok_or_else(|| {
        let known: Vec<String> = Kind::ALL.iter().map(|kind| format!("{}ImageProcessor", kind.name)).collect();
        config.unexpected(key, &format!("one of {}", known.join(", ")))
    })
}

/// How pictures are resized, and what is cut out of them for that.
fn resize(config: &Json, kind: &Kind) -> Result<(Option<Resize>, Option<Crop>), LoadError> {
    if config.flag("do_resize")? == Some(false) {
        return Ok((None, None));
    }
    let filter = config.size("resample", 0..=FILTERS.len() - 1)?.unwrap_or(kind.filter);
    let filter = FILTERS.get(filter).copied().unwrap_or(Filter::Bilinear);
    let mut to = sides(config, kind)?;
    let mut cut = None;
    if kind.is_convnext {
        let Sides::Shorter(side) = to else { return Err(config.unexpected("size", "`shortest_edge`")) };
        let crop_pct = config.number("crop_pct", 0.05..=1.0)?.unwrap_or(CROP_PCT);
        to = Sides::Both(side, side);
        if side < UNCUT_SIDE {
            to = Sides::Shorter(enlarged(side, crop_pct));
            cut = Some(Crop { width: side, height: side, half: Half::Down });
        }
    }
    Ok((Some(Resize { to, filter, first: First::Across }), cut))
}

fn sides(config: &Json, kind: &Kind) -> Result<Sides, LoadError> {
    let alone = |size| match size {
        Size::Square(side) => Sides::Both(side, side),
        Size::Shorter(side) => Sides::Shorter(side),
    };
    let is_number = config.get("size").is_some_and(serde_json::Value::is_number);
    if is_number {
        let side = config.require_size("size", SIDES)?;
        return Ok(alone(match kind.size {
            Size::Square(_) => Size::Square(side),
            Size::Shorter(_) => Size::Shorter(side),
        }));
    }
    let Some(size) = config.object("size")? else { return Ok(alone(kind.size)) };
    let (width, height) = (size.size("width", SIDES)?, size.size("height", SIDES)?);
    let is_other = |key: &str| !matches!(key, "width" | "height" | "shortest_edge");
    let other = size.entries().any(|(key, value)| is_other(key) && !value.is_null());
    match (width, height, size.size("shortest_edge", SIDES)?) {
        (Some(width), Some(height), None) if !other => Ok(Sides::Both(width, height)),
        (None, None, Some(shorter)) if !other => Ok(Sides::Shorter(shorter)),
        _ => Err(config.error("size", "expected `height` and `width`, or `shortest_edge` alone")),
    }
}

fn crop(config: &Json, kind: &Kind) -> Result<Option<Crop>, LoadError> {
    if !config.flag("do_center_crop")?.unwrap_or(kind.crop.is_some()) {
        return Ok(None);
    }
    let square = |side| Ok(Some(Crop { width: side, height: side, half: Half::Down }));
    if config.get("crop_size").is_some_and(serde_json::Value::is_number) {
        return square(config.require_size("crop_size", SIDES)?);
    }
    match (config.object("crop_size")?, kind.crop) {
        (Some(size), _) => {
            let (width, height) = (size.require_size("width", SIDES)?, size.require_size("height", SIDES)?);
            Ok(Some(Crop { width, height, half: Half::Down }))
        }
        (None, Some(side)) => square(side),
        (None, None) => Err(config.error("crop_size", "is missing")),
    }
}

/// What is subtracted from a colour's numbers, and what they are divided by.
fn colours(config: &Json, kind: &Kind) -> Result<([f32; 3], [f32; 3]), LoadError> {
    let factor = match config.flag("do_rescale")? {
        Some(false) => 1.0,
        _ => config.number("rescale_factor", 1e-9..=1e9)?.unwrap_or(1.0 / 255.0),
    };
    let (mean, std) = match config.flag("do_normalize")? {
        Some(false) => ([0.0; 3], [1.0; 3]),
        _ => (
            config.numbers("image_mean", -1e6..=1e6)?.unwrap_or(kind.colours.0),
            config.numbers("image_std", 1e-6..=1e6)?.unwrap_or(kind.colours.1),
        ),
    };
    Ok((by_colour(mean, 1.0 / factor), by_colour(std, 1.0 / factor)))
}
