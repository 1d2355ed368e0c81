//! Tokenizers that explode.

use serde_json::{Value, json};

use crate::model::arch::tests::logged;
use crate::model::arch::text::tests::folder::{FAMILIES, tokenizer};

fn told(change: impl FnOnce(&mut Value)) -> String {
    let mut folder = FAMILIES[0].folder();
    let mut file = tokenizer();
    change(&mut file);
    folder.json("tokenizer.json", &file);
    let told = folder.refused();
    told.strip_prefix("tokenizer.json: ").unwrap_or(&told).to_owned()
}

fn replace(pattern: &Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn sequence(parts: &[Value]) -> Value {
    json!({"type": "Sequence", "normalizers": parts})
}

#[test]
fn replacements_may_not_multiply_a_text() {
    let grown = "`normalizer`: its replacements could make a text 64 times longer, and more";
    let doubling = replace(&json!({"String": "a"}), "aa");
    assert_eq!(told(|file| file["normalizer"] = sequence(&vec![doubling; 20])), grown);
    assert_eq!(told(|file| file["normalizer"] = replace(&json!({"String": ""}), &"x".repeat(64))), grown);
    assert_eq!(told(|file| file["normalizer"] = replace(&json!({"Regex": "."}), &"x".repeat(64))), grown);
    let mut deep = json!({"type": "Lowercase"});
    for _ in 0..40 {
        deep =
            sequence(&[deep, json!({"type": "Lowercase"}), json!({"type": "Lowercase"}), json!({"type": "Lowercase"})]);
    }
    let parts = told(|file| file["normalizer"] = deep);
    assert_eq!(parts, "`normalizer`: expected at most 256 parts in all");
    let long = told(|file| file["normalizer"] = replace(&json!({"String": "x".repeat(5000)}), "y"));
    assert_eq!(long, "`normalizer`: expected strings of at most 4096 bytes, got 5000");
}

#[test]
fn templates_have_each_text_once() {
    let twice = |file: &mut Value| {
        let text = file["post_processor"]["single"][1].clone();
        file["post_processor"]["single"].as_array_mut().expect("a list").push(text);
    };
    assert_eq!(told(twice), "`post_processor`: expected a template of A, once each, got \"A, A\"");
    let many = |file: &mut Value| {
        let special = file["post_processor"]["pair"][0].clone();
        let pair = file["post_processor"]["pair"].as_array_mut().expect("a list");
        pair.extend(vec![special; 12]);
    };
    assert_eq!(told(many), "`post_processor`: expected at most 16 pieces, got 17");
    let ids = |file: &mut Value| file["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([2, 2, 2]);
    assert_eq!(told(ids), "`post_processor`: expected one or two ids for a special token, got 3");
    let several = |file: &mut Value| {
        let template = file["post_processor"].clone();
        file["post_processor"] = json!({"type": "Sequence", "processors": [template.clone(), template]});
    };
    assert_eq!(told(several), "`post_processor`: expected one template, got several");
    let nested = |file: &mut Value| {
        let inner = json!({"type": "Sequence", "processors": []});
        file["post_processor"] = json!({"type": "Sequence", "processors": [inner]});
    };
    assert_eq!(told(nested), "`post_processor`: \"Sequence\" is not served in this place");
}

#[test]
fn added_tokens_are_few_and_short() {
    let added = |count: usize, bytes: usize| {
        move |file: &mut Value| {
            let token = |at: usize| {
                json!({"id": at, "content": format!("{at:0bytes$}"), "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
            };
            file["added_tokens"] = (0..count).map(token).collect();
        }
    };
    assert_eq!(told(added(1, 5000)), "`added_tokens`: expected at most 4096 bytes in each, got 5000");
    assert_eq!(told(added(65537, 1)), "`added_tokens`: expected at most 65536, got 65537");
}

#[test]
fn the_same_text_has_the_same_tokens() {
    let dropout = told(|file| file["model"] = json!({"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}));
    assert_eq!(dropout, "`model.dropout`: a text would have other tokens each time");
    let words = told(|file| file["model"]["max_input_chars_per_word"] = json!(100_000));
    assert_eq!(words, "`model.max_input_chars_per_word`: expected at most 1024, got 100000");
}

#[test]
fn ids_are_those_of_the_model() {
    let beyond = told(|file| file["model"]["vocab"]["w20"] = json!(20));
    assert_eq!(beyond, "token \"w20\": expected ids from 0 to 19, as the model has, got 20");
    let template = told(|file| file["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([77]));
    assert_eq!(template, "its template adds id 77, which the model does not have");
    let kind = told(|file| file["post_processor"]["pair"][3]["Sequence"]["type_id"] = json!(2));
    assert_eq!(kind, "its template gives token type 2, which the model does not have");
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    let unknown = told(|file| file["normalizer"] = json!({"type": "Magic"}));
    assert!(unknown.starts_with("not a valid tokenizer: "), "{unknown}");
    // The crate takes this, and panics on the first text.
    let absent = told(|file| file["post_processor"]["special_tokens"] = json!({}));
    assert!(absent.starts_with("the tokenizer failed on a short text: "), "{absent}");
    // This makes it panic while it reads the file. The reason is the panic's own.
    let garbage = told(|file| file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}));
    let read = "the tokenizer failed to read it: Precompiled: ";
    assert!(garbage.starts_with(read) && garbage.contains("Cannot parse precompiled_charsmap"), "{garbage}");
    let mut folder = FAMILIES[0].folder();
    folder.files.insert("tokenizer.json".to_owned(), b"{".to_vec());
    assert!(folder.refused().starts_with("tokenizer.json: not valid JSON: "));
    folder.files.insert("tokenizer.json".to_owned(), "[".repeat(1 << 20).into_bytes());
    assert!(folder.refused().starts_with("tokenizer.json: not valid JSON: recursion limit"));
    folder.files.insert("tokenizer.json".to_owned(), vec![b' '; (64 << 20) + 1]);
    assert_eq!(folder.refused(), "tokenizer.json: expected at most 67108864 bytes, got 67108865");
}

#[test]
fn something_stands_for_words_that_are_not_known() {
    let unknown = |token: &str| {
        json!({"type": "WordPiece", "unk_token": token, "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {"a": 4, "b": 5, "[CLS]": 2, "[SEP]": 3, "[UNK]": 1}})
    };
    let absent = told(|file| file["model"] = unknown("[GONE]"));
    assert_eq!(absent, "WordPiece error: Missing [UNK] token from the vocabulary");
    let mut folder = FAMILIES[0].folder();
    let mut file = tokenizer();
    file["model"] = unknown("[UNK]");
    folder.json("tokenizer.json", &file);
    folder.load();
}

#[test]
fn a_folder_without_a_tokenizer_is_served_with_a_warning() {
    let mut folder = FAMILIES[0].folder();
    assert_eq!(logged(|| drop(folder.load())), "");
    folder.files.remove("tokenizer.json");
    folder.files.insert("vocab.txt".to_owned(), b"[PAD]\n[UNK]\n".to_vec());
    let logged = logged(|| assert_eq!(folder.load().about.signature.inputs[0].name, "input_ids"));
    let warning = "no tokenizer.json: texts are not taken, only input_ids; in Python, \
                   AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one";
    assert!(logged.contains("WARN") && logged.contains(warning), "{logged}");
}
