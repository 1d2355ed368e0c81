//! How folders want images prepared.

use serde_json::{Value, json};

use super::super::image::{Filter, First, Picture};
use super::super::processor::{Crop, Half, Kind, Recipe, Resize, Sides, hub, timm};
use crate::model::json::Json;
use crate::model::{Files, LoadError};

fn files(file: &str, text: &Value) -> Files {
    Files::Memory([(file.to_owned(), text.to_string().into_bytes().into())].into())
}

fn of_hub(text: &Value, usual: Kind) -> Result<Recipe, LoadError> {
    hub(&files("preprocessor_config.json", text), usual).map(|recipe| recipe.expect("a file"))
}

fn of_timm(text: &Value) -> Result<Recipe, LoadError> {
    let config = Json::read(&files("config.json", &json!({"pretrained_cfg": text})), "config.json")?;
    timm(&config).map(|recipe| recipe.expect("settings"))
}

fn told(recipe: Result<Recipe, LoadError>) -> String {
    recipe.expect_err("refused").reason().to_owned()
}

fn resize(to: Sides, filter: Filter) -> Resize {
    Resize { to, filter, first: First::Across }
}

fn square(side: usize) -> Crop {
    Crop { width: side, height: side, half: Half::Down }
}

#[test]
fn what_a_file_leaves_out_is_its_classes_default() {
    let vit = of_hub(&json!({}), Kind::VIT).expect("a recipe");
    assert_eq!(vit.resize, Some(resize(Sides::Both(224, 224), Filter::Bilinear)));
    assert_eq!((vit.crop, vit.on_white, vit.center, vit.spread), (None, false, [127.5; 3], [127.5; 3]));
    let convnext = of_hub(&json!({}), Kind::CONVNEXT).expect("a recipe");
    assert_eq!((convnext.resize, convnext.crop), (Some(resize(Sides::Both(384, 384), Filter::Bicubic)), None));
    let deit = of_hub(&json!({"image_processor_type": "DeiTImageProcessorFast"}), Kind::VIT).expect("a recipe");
    assert_eq!((deit.resize, deit.crop), (Some(resize(Sides::Both(256, 256), Filter::Bicubic)), Some(square(224))));
    let bit = of_hub(&json!({"image_processor_type": "BitImageProcessor"}), Kind::VIT).expect("a recipe");
    assert_eq!((bit.resize, bit.crop), (Some(resize(Sides::Shorter(224), Filter::Bicubic)), Some(square(224))));
    assert!(bit.on_white);
    assert_eq!(of_hub(&json!({"feature_extractor_type": "CLIPFeatureExtractor"}), Kind::VIT).expect("a recipe"), bit);
}

#[test]
fn sizes_are_read_in_every_form() {
    let old = of_hub(&json!({"feature_extractor_type": "ViTFeatureExtractor", "size": 30}), Kind::VIT);
    assert_eq!(old.expect("a recipe").size(), Some((30, 30)));
    let both = of_hub(&json!({"size": {"height": 20, "width": 30}, "resample": 3}), Kind::VIT).expect("a recipe");
    assert_eq!(both.resize, Some(resize(Sides::Both(30, 20), Filter::Bicubic)));
    let convnext = of_hub(&json!({"size": {"shortest_edge": 64}, "crop_pct": 0.875}), Kind::CONVNEXT);
    let convnext = convnext.expect("a recipe");
    assert_eq!((convnext.resize, convnext.crop), (Some(resize(Sides::Shorter(73), Filter::Bicubic)), Some(square(64))));
    let text = json!({"image_processor_type": "BitImageProcessor", "size": 50, "crop_size": {"height": 8, "width": 9}});
    let bit = of_hub(&text, Kind::VIT).expect("a recipe");
    assert_eq!((bit.resize, bit.size()), (Some(resize(Sides::Shorter(50), Filter::Bicubic)), Some((9, 8))));
    let cut = json!({"do_resize": false, "do_center_crop": true, "crop_size": 12, "do_rescale": false});
    let cut = of_hub(&cut, Kind::VIT).expect("a recipe");
    assert_eq!((cut.resize, cut.crop, cut.center, cut.spread), (None, Some(square(12)), [0.5; 3], [0.5; 3]));
    let raw = of_hub(&json!({"do_normalize": false, "rescale_factor": 0.5}), Kind::VIT).expect("a recipe");
    assert_eq!((raw.center, raw.spread), ([0.0; 3], [2.0; 3]));
}

#[test]
fn what_would_change_pixels_and_is_unknown_is_refused() {
    let vit = |text: Value| told(of_hub(&text, Kind::VIT));
    let known = "ViTImageProcessor, ConvNextImageProcessor, DeiTImageProcessor, BitImageProcessor, CLIPImageProcessor";
    let other = vit(json!({"image_processor_type": "OwlImageProcessor"}));
    assert_eq!(other, format!("`image_processor_type`: expected one of {known}, got \"OwlImageProcessor\""));
    assert_eq!(vit(json!({"do_pad": true})), "`do_pad`: images are not prepared so here");
    assert_eq!(vit(json!({"resample": 4})), "`resample`: expected a whole number from 0 to 3, got 4");
    let forms = "`size`: expected `height` and `width`, or `shortest_edge` alone";
    assert_eq!(vit(json!({"size": {"shortest_edge": 9, "longest_edge": 9}})), forms);
    assert_eq!(vit(json!({"size": {"height": 9}})), forms);
    let varying = "`size`: images would have different sizes; a model here takes one";
    assert_eq!(vit(json!({"size": {"shortest_edge": 9}})), varying);
    assert_eq!(vit(json!({"do_resize": false})), varying);
    assert_eq!(vit(json!({"do_center_crop": true})), "`crop_size`: is missing");
    let convnext = |text: Value| told(of_hub(&text, Kind::CONVNEXT));
    let shorter = "`size`: expected `shortest_edge`, got an object";
    assert_eq!(convnext(json!({"size": {"height": 9, "width": 9}})), shorter);
    let twice = json!({"size": {"shortest_edge": 9}, "do_center_crop": true, "crop_size": 9});
    assert_eq!(convnext(twice), "`do_center_crop`: the image is cut already, by `crop_pct`");
    let std = vit(json!({"image_std": [1, 0, 1]}));
    assert!(std.starts_with("`image_std`: expected a list of 3 numbers from 0.000001"), "{std}");
}

#[test]
fn timms_settings_are_read() {
    let recipe = of_timm(&json!({"input_size": [3, 64, 64], "crop_pct": 0.9})).expect("a recipe");
    let expected = Resize { to: Sides::Shorter(71), filter: Filter::Bicubic, first: First::Cheaper };
    assert_eq!(recipe.resize, Some(expected));
    assert_eq!(recipe.crop, Some(Crop { width: 64, height: 64, half: Half::Even }));
    let squash = json!({"input_size": [3, 20, 30], "crop_mode": "squash", "crop_pct": 1, "interpolation": "bilinear"});
    let squash = of_timm(&squash).expect("a recipe");
    let expected = Resize { to: Sides::Both(30, 20), filter: Filter::Bilinear, first: First::Cheaper };
    assert_eq!(squash.resize, Some(expected));
    let told = |text: Value| told(of_timm(&text));
    let filters = "`pretrained_cfg.interpolation`: expected bilinear, bicubic or lanczos, got \"random\"";
    assert_eq!(told(json!({"interpolation": "random"})), filters);
    let modes = "`pretrained_cfg.crop_mode`: expected center or squash, got \"border\"";
    assert_eq!(told(json!({"crop_mode": "border"})), modes);
    let sizes = "`pretrained_cfg.input_size`: expected 3 colours, a height and a width";
    assert_eq!(told(json!({"input_size": [1, 28, 28]})), sizes);
    let square = "`pretrained_cfg.input_size`: expected a square, to be cut out of the center, got a list";
    assert_eq!(told(json!({"input_size": [3, 20, 30]})), square);
}

/// Red is the place of a pixel, and the numbers of a recipe are those of its pixels.
fn places(recipe: &Recipe, width: usize, height: usize) -> Vec<f32> {
    let pixels = (0..width * height).flat_map(|at| [u8::try_from(at).expect("few"), 0, 0]).collect();
    let mut numbers = Vec::new();
    recipe.apply(Picture { width, height, pixels, transparent: None }, &mut numbers);
    numbers.truncate(numbers.len() / 3);
    numbers
}

#[test]
fn the_middle_is_where_each_library_finds_it() {
    let cut = |half, width, height| {
        let crop = Some(Crop { width, height, half });
        Recipe { on_white: false, resize: None, crop, center: [0.0; 3], spread: [1.0; 3] }
    };
    // Of 1, 3 and 5 pixels that are left over.
    for (width, down, even) in [(4, 0.0, 0.0), (6, 1.0, 2.0), (8, 2.0, 2.0)] {
        assert_eq!(places(&cut(Half::Down, 3, 1), width, 1)[0], down);
        assert_eq!(places(&cut(Half::Even, 3, 1), width, 1)[0], even);
    }
    assert_eq!(places(&cut(Half::Down, 4, 2), 2, 3), [0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 3.0, 0.0]);
    assert_eq!(places(&cut(Half::Down, 3, 1), 2, 1), [0.0, 1.0, 0.0]);
}

#[test]
fn a_long_picture_costs_no_more_than_its_middle() {
    let convnext = of_hub(&json!({"size": {"shortest_edge": 64}}), Kind::CONVNEXT).expect("a recipe");
    let mut numbers = Vec::new();
    let pixels = vec![9; 3 * 60_000];
    convnext.apply(Picture { width: 1, height: 60_000, pixels, transparent: None }, &mut numbers);
    assert_eq!(numbers.len(), 3 * 64 * 64);
    assert!(convnext.bytes((1, 60_000)) < 16 << 20);
}
