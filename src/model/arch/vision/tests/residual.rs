//! Residual networks of transformers and timm.

use serde_json::json;

use super::folder::{Folder, answers, difference};
use super::reference::{Volume, Weights, softmax};

const SIDE: usize = 40;
const CLASSES: usize = 5;

/// What a network's tensors are called.
struct Names {
    stem: [&'static str; 2],
    block: fn(usize, usize) -> String,
    parts: fn(usize) -> [String; 2],
    shortcut: [&'static str; 2],
    classifier: &'static str,
}

const HUB: Names = Names {
    stem: ["resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization"],
    block: |stage, block| format!("resnet.encoder.stages.{stage}.layers.{block}"),
    parts: |number| [format!("layer.{number}.convolution"), format!("layer.{number}.normalization")],
    shortcut: ["shortcut.convolution", "shortcut.normalization"],
    classifier: "classifier.1",
};
const TIMM: Names = Names {
    stem: ["conv1", "bn1"],
    block: |stage, block| format!("layer{}.{block}", stage + 1),
    parts: |number| [format!("conv{}", number + 1), format!("bn{}", number + 1)],
    shortcut: ["downsample.0", "downsample.1"],
    classifier: "fc",
};

/// A network as this test knows it.
struct Network {
    names: Names,
    /// Blocks and channels of each stage.
    stages: Vec<(usize, usize)>,
    /// Kernels and whether each of a block's convolutions takes its stride.
    convolutions: Vec<(usize, bool)>,
    halves_first: bool,
}

impl Network {
    fn stride(&self, stage: usize, block: usize) -> usize {
        if block == 0 && (stage > 0 || self.halves_first) { 2 } else { 1 }
    }

    fn blocks(&self) -> Vec<(usize, usize, usize)> {
        let of = |(stage, (blocks, channels)): (usize, &(usize, usize))| {
            (0..*blocks).map(|block| (stage, block, *channels)).collect::<Vec<_>>()
        };
        self.stages.iter().enumerate().flat_map(of).collect()
    }

    /// Draws the weights.
    fn fill(&self, folder: &mut Folder) {
        fn pair(folder: &mut Folder, [convolution, norm]: [String; 2], dims: [usize; 3]) {
            let [outputs, inputs, side] = dims;
            folder.add(&format!("{convolution}.weight"), &[outputs, inputs, side, side]);
            folder.add_positive(&format!("{norm}.weight"), outputs);
            folder.add_positive(&format!("{norm}.running_var"), outputs);
            folder.add(&format!("{norm}.bias"), &[outputs, 1]);
            folder.add(&format!("{norm}.running_mean"), &[outputs, 1]);
            for part in ["bias", "running_mean"] {
                folder.tensors.get_mut(&format!("{norm}.{part}")).expect("just added").0 = vec![outputs];
            }
            folder.tensors.insert(format!("{norm}.num_batches_tracked"), (vec![1], vec![9.0]));
        }
        pair(folder, self.names.stem.map(str::to_owned), [6, 3, 7]);
        let mut inputs = 6;
        for (stage, block, channels) in self.blocks() {
            let name = (self.names.block)(stage, block);
            let mut before = inputs;
            for (number, (side, _)) in self.convolutions.iter().enumerate() {
                let is_last = number + 1 == self.convolutions.len();
                let outputs = if is_last { channels } else { channels / 2 };
                pair(folder, (self.names.parts)(number).map(|part| format!("{name}.{part}")), [outputs, before, *side]);
                before = outputs;
            }
            if self.stride(stage, block) != 1 || inputs != channels {
                pair(folder, self.names.shortcut.map(|part| format!("{name}.{part}")), [channels, inputs, 1]);
            }
            inputs = channels;
        }
        folder.linear(self.names.classifier, CLASSES, inputs, true);
    }

    fn run(&self, folder: &Folder, image: &[f32]) -> Vec<f64> {
        let weights = Weights(&folder.tensors);
        let normed = |rows: &Volume, [convolution, norm]: &[String; 2], stride: usize| {
            rows.convolve(&weights, convolution, stride).batch_norm(&weights, norm)
        };
        let stem = self.names.stem.map(str::to_owned);
        let mut rows = normed(&Volume::new([3, SIDE, SIDE], image), &stem, 2).relu().pooled();
        for (stage, block, _) in self.blocks() {
            let (name, stride) = ((self.names.block)(stage, block), self.stride(stage, block));
            let mut main = rows.clone();
            for (number, (_, strides)) in self.convolutions.iter().enumerate() {
                let names = (self.names.parts)(number).map(|part| format!("{name}.{part}"));
                main = normed(&main, &names, if *strides { stride } else { 1 });
                if number + 1 < self.convolutions.len() {
                    main = main.relu();
                }
            }
            let names = self.names.shortcut.map(|part| format!("{name}.{part}"));
            let has_shortcut = folder.tensors.contains_key(&format!("{}.weight", names[0]));
            let shortcut = if has_shortcut { normed(&rows, &names, stride) } else { rows };
            rows = main.plus(&shortcut).relu();
        }
        weights.linear(self.names.classifier, &rows.means())
    }

    /// Every answer is the reference's, and a row's own whoever is beside it.
    fn check(&self, folder: &mut Folder) {
        self.fill(folder);
        // Of noise around a different gray each: noise alone is averaged away.
        let image = |gray: u8| (0..3 * SIDE * SIDE).map(|_| folder.number() + f32::from(gray)).collect();
        let images: Vec<Vec<f32>> = (0..6).map(image).collect();
        let loaded = folder.load().unwrap_or_else(|error| panic!("{error}"));
        let [logits, probabilities] = answers(&loaded, &images, [SIDE; 2]);
        for (at, image) in images.iter().enumerate() {
            let expected = self.run(folder, image);
            assert!(difference(&logits[at], &expected) < 1e-4, "{:?} {expected:?}", logits[at]);
            assert!(difference(&probabilities[at], &softmax(&expected)) < 1e-4);
            let other = &logits[(at + 1) % logits.len()];
            assert!(difference(other, &expected) > 1e-3, "answers do not differ");
            let [alone, _] = answers(&loaded, std::slice::from_ref(image), [SIDE; 2]);
            let company: Vec<f64> = logits[at].iter().map(|number| f64::from(*number)).collect();
            assert!(difference(&alone[0], &company) < 1e-5);
        }
    }
}

fn hub(layer_type: &str, more: &serde_json::Value) -> Folder {
    let mut config = json!({"model_type": "resnet", "architectures": ["ResNetForImageClassification"],
        "embedding_size": 6, "hidden_sizes": [8, 12], "depths": [2, 2], "layer_type": layer_type,
        "id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}});
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let processor = json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": SIDE}});
    Folder::new(config, Some(processor))
}

pub(super) fn basic() -> Folder {
    let mut folder = hub("basic", &json!({}));
    let network = Network {
        names: HUB,
        stages: vec![(2, 8), (2, 12)],
        convolutions: vec![(3, true), (3, false)],
        halves_first: false,
    };
    network.fill(&mut folder);
    folder
}

#[test]
fn transformers_networks_are_the_references() {
    let stages = vec![(2, 8), (2, 12)];
    for strides_first in [false, true] {
        let network = Network {
            names: HUB,
            stages: stages.clone(),
            convolutions: vec![(1, strides_first), (3, !strides_first), (1, false)],
            halves_first: strides_first,
        };
        let more = json!({"downsample_in_bottleneck": strides_first, "downsample_in_first_stage": strides_first});
        network.check(&mut hub("bottleneck", &more));
    }
    let convolutions = vec![(3, true), (3, false)];
    Network { names: HUB, stages, convolutions, halves_first: false }.check(&mut hub("basic", &json!({})));
}

fn timm(more: &serde_json::Value) -> Folder {
    let mut config = json!({"architecture": "resnet18", "num_classes": CLASSES,
        "label_names": ["n1", "n2", "n3", "n4", "n5"],
        "label_descriptions": {"n1": "crane", "n2": "crane", "n3": "eel"},
        "model_args": {"channels": [8, 12], "layers": [2, 1]},
        "pretrained_cfg": {"input_size": [3, SIDE, SIDE]}});
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    Folder::new(config, None)
}

pub(super) fn timm_basic() -> Folder {
    let mut folder = timm(&json!({}));
    let convolutions = vec![(3, true), (3, false)];
    Network { names: TIMM, stages: vec![(2, 8), (1, 12)], convolutions, halves_first: false }.fill(&mut folder);
    folder
}

#[test]
fn timms_networks_are_the_references() {
    let convolutions = vec![(1, false), (3, true), (1, false)];
    let network = Network { names: TIMM, stages: vec![(1, 8), (2, 12), (1, 16)], convolutions, halves_first: false };
    network.check(&mut timm(&json!({"architecture": "resnet50"})));
    let convolutions = vec![(3, true), (3, false)];
    let network = Network { names: TIMM, stages: vec![(2, 8), (1, 12)], convolutions, halves_first: false };
    network.check(&mut timm(&json!({})));
}

#[test]
fn labels_are_the_folders_own_and_distinct() {
    let labels = |folder: &Folder| folder.load().expect("a model").about.scoring.expect("scored").labels;
    assert_eq!(labels(&basic()), ["a", "b", "c", "d", "e"]);
    assert_eq!(labels(&timm_basic()), ["crane", "crane (1)", "eel", "n4", "n5"]);
    assert_eq!(labels(&timm_basic().with("label_names", serde_json::Value::Null)), ["0", "1", "2", "3", "4"]);
}
