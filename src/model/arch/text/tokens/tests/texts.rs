//! From texts to rows.

use serde_json::json;

use crate::model::arch::text::tests::folder::{FAMILIES, Folder, Inputs, prepare, texts, tokenizer};
use crate::model::{Loaded, Prepared};
use crate::types::{Presence, Tensor};

fn uints(tensor: &Tensor) -> Vec<u32> {
    tensor.data().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

fn rows(loaded: &Loaded, given: &[&str]) -> Prepared {
    prepare(loaded, &vec![("text", texts(given))]).expect("rows")
}

fn told(loaded: &Loaded, inputs: &Inputs) -> String {
    prepare(loaded, inputs).expect_err("refused").detail().to_owned()
}

/// A folder whose rows have at most so many tokens.
fn with_limit(mut folder: Folder, tokens: usize) -> Folder {
    folder.json("sentence_bert_config.json", &json!({"max_seq_length": tokens}));
    folder
}

/// BERT whose rows have at most so many tokens.
fn limited(tokens: usize) -> Folder {
    with_limit(FAMILIES[0].folder(), tokens)
}

#[test]
fn texts_are_packed_without_padding() {
    let loaded = FAMILIES[0].folder().load();
    let prepared = rows(&loaded, &["W7 w9", "", "w4 what w5"]);
    assert!(prepared.truncated.is_empty());
    assert_eq!(prepared.rows.lengths(), Some(&[4, 2, 5][..]));
    let inputs: Vec<Vec<u32>> = prepared.rows.inputs().iter().map(uints).collect();
    assert_eq!(inputs[0], [2, 7, 9, 3, 2, 3, 2, 4, 1, 5, 3]);
    assert_eq!(inputs[1], [0; 11]);
    assert_eq!(inputs[2], [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]);
    assert_eq!(rows(&loaded, &["W7 w9", "", "w4 what w5"]), prepared);
}

#[test]
fn pairs_have_types_and_are_needed_for_scores_and_unknown_to_embeddings() {
    let loaded = FAMILIES[0].classifier(2).load();
    let inputs = vec![("text", texts(&["w7 w8"])), ("text_pair", texts(&["w9"]))];
    let prepared = prepare(&loaded, &inputs).expect("rows");
    let inputs: Vec<Vec<u32>> = prepared.rows.inputs().iter().map(uints).collect();
    assert_eq!((&inputs[0][..], &inputs[1][..]), (&[2, 7, 8, 3, 9, 3][..], &[0, 0, 0, 0, 1, 1][..]));
    assert_eq!(loaded.about.signature.inputs[1].presence, Presence::Optional);
    let ranker = FAMILIES[0].classifier(1).load();
    assert_eq!(ranker.about.signature.inputs[1].presence, Presence::Usual);
    let missing = told(&ranker, &vec![("text", texts(&["w7"]))]);
    assert_eq!(missing, "input \"text_pair\" is missing: this model scores pairs of texts");
    let names = FAMILIES[0].folder().load().about.signature.inputs.into_iter().map(|input| input.name);
    assert_eq!(names.collect::<Vec<_>>(), ["text", "input_ids", "attention_mask", "token_type_ids"]);
}

#[test]
fn robertas_positions_begin_after_the_padding() {
    let loaded = FAMILIES[2].folder().load();
    let prepared = rows(&loaded, &["w7 strange w8"]);
    let inputs: Vec<Vec<u32>> = prepared.rows.inputs().iter().map(uints).collect();
    // Words that are not known get the id 1 here, which is RoBERTa's padding: they stand still.
    assert_eq!(inputs, [vec![2, 7, 1, 8, 3], vec![2, 3, 1, 4, 5]]);
}

#[test]
fn long_texts_are_cut_and_the_cut_is_told() {
    let loaded = limited(5).load();
    let prepared = rows(&loaded, &["w4 w5 w6 w7 w8", "w4"]);
    assert_eq!(prepared.truncated, [2, 0]);
    assert_eq!(uints(&prepared.rows.inputs()[0]), [2, 4, 5, 6, 3, 2, 4, 3]);
    let inputs = vec![("text", texts(&["w4 w5 w6"])), ("text_pair", texts(&["w7"]))];
    let prepared = prepare(&with_limit(FAMILIES[0].classifier(2), 5).load(), &inputs).expect("rows");
    assert_eq!((prepared.truncated, uints(&prepared.rows.inputs()[0])), (vec![2], vec![2, 4, 3, 7, 3]));
    let mut left = limited(5);
    left.json("tokenizer_config.json", &json!({"truncation_side": "left"}));
    assert_eq!(uints(&rows(&left.load(), &["w4 w5 w6 w7 w8"]).rows.inputs()[0]), [2, 6, 7, 8, 3]);
    left.json("tokenizer_config.json", &json!({"truncation_side": "middle"}));
    let told = "tokenizer_config.json: `truncation_side`: expected \"left\" or \"right\", got \"middle\"";
    assert_eq!(left.refused(), told);
}

#[test]
fn the_limit_is_the_first_that_is_told_and_sane() {
    let words = ["w4"; 40].join(" ");
    let kept = |folder: &Folder| rows(&folder.load(), &[&words]).rows.longest();
    let mut folder = FAMILIES[0].folder();
    assert_eq!(kept(&folder), 16);
    folder.json("tokenizer_config.json", &json!({"model_max_length": 1e30}));
    assert_eq!(kept(&folder), 16);
    folder.json("tokenizer_config.json", &json!({"model_max_length": 9}));
    assert_eq!(kept(&folder), 9);
    folder.json("sentence_bert_config.json", &json!({"transformer_task": "feature-extraction"}));
    assert_eq!(kept(&folder), 9);
    folder.json("sentence_bert_config.json", &json!({"max_seq_length": 12}));
    assert_eq!(kept(&folder), 12);
    folder.json("sentence_bert_config.json", &json!({"max_seq_length": 512}));
    assert_eq!(kept(&folder), 16);
    folder.json("sentence_bert_config.json", &json!({"max_seq_length": 3}));
    assert_eq!(kept(&folder), 3);
    folder.json("sentence_bert_config.json", &json!({"max_seq_length": 2}));
    let told = "tokenizer.json: its template adds 2 tokens to a text, but a row has at most 2";
    assert_eq!(folder.refused(), told);
    let told = "tokenizer.json: its template adds 3 tokens to a pair, but a row has at most 4";
    assert_eq!(with_limit(FAMILIES[0].classifier(2), 4).refused(), told);
}

#[test]
fn the_limit_and_the_case_may_stand_in_a_file_of_an_older_name() {
    let mut folder = FAMILIES[0].folder();
    folder.json("sentence_xlnet_config.json", &json!({"max_seq_length": 7}));
    let kept = |folder: &Folder| rows(&folder.load(), &["w4 w5 w6 w7 w8 w9 w10"]).rows.longest();
    assert_eq!(kept(&folder), 7);
    folder.json("sentence_xlm-roberta_config.json", &json!({"max_seq_length": 6}));
    assert_eq!(kept(&folder), 6, "of the first in order");
    folder.json("sentence_bert_config.json", &json!({}));
    assert_eq!(kept(&folder), 6, "one that says nothing is passed over");
    folder.json("sentence_roberta_config.json", &json!({"do_lower_case": 1}));
    let told = "sentence_roberta_config.json: `do_lower_case`: expected true or false, got 1";
    assert_eq!(folder.refused(), told);
}

/// The normalizers here tell whether they saw upper case: what is lower only after them was not there in time.
#[test]
fn texts_are_put_in_lower_case_where_the_folder_says_so() {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let lower = json!({"type": "Lowercase"});
    let sequence = |parts: &[serde_json::Value]| json!({"type": "Sequence", "normalizers": parts});
    let ids = |normalizer: serde_json::Value, settings: serde_json::Value| {
        let mut folder = FAMILIES[0].folder();
        let mut file = tokenizer();
        file["normalizer"] = normalizer;
        folder.json("tokenizer.json", &file);
        folder.json("sentence_bert_config.json", &settings);
        uints(&rows(&folder.load(), &["W7 [SEP] w8"]).rows.inputs()[0])
    };
    let asked = || json!({"max_seq_length": 12, "do_lower_case": true});
    let (kept, lowered) = ([2, 1, 3, 8, 3], [2, 7, 3, 8, 3]);
    assert_eq!(ids(serde_json::Value::Null, json!({"do_lower_case": false})), kept);
    assert_eq!(ids(serde_json::Value::Null, asked()), lowered);
    assert_eq!(ids(replace("w7", "w9"), asked()), [2, 9, 3, 8, 3], "before what is there");
    assert_eq!(ids(sequence(&[replace("w7", "w9")]), asked()), [2, 9, 3, 8, 3], "at the front of a sequence");
    let late = sequence(&[replace("w7", "w9"), lower.clone()]);
    assert_eq!(ids(late, asked()), lowered, "a sequence that does it is left as it is");
    assert_eq!(ids(lower.clone(), asked()), lowered);
    let deep = sequence(&[replace("w7", "w9"), sequence(&[lower])]);
    assert_eq!(ids(deep, asked()), [2, 9, 3, 8, 3], "one inside another does not count");
}

/// What is not read of a huge text changes nothing that is kept; where it could, the text is refused.
#[test]
fn of_a_huge_text_only_the_beginning_is_read() {
    let loaded = limited(5).load();
    let huge = "w4 w5 w6 w7 ".repeat(1 << 16);
    let start = "w4 w5 w6 w7 ".repeat(10);
    let (huge, start) = (rows(&loaded, &[&huge]), rows(&loaded, &[&start]));
    assert_eq!(huge.rows, start.rows);
    assert_eq!(huge.truncated, [21846 - 3], "of 64 KiB");
    let word = format!("w4 w5 {}", "x".repeat(1 << 20));
    let told = told(&loaded, &vec![("text", texts(&["w4", &word]))]);
    let wanted = "input \"text\", row 1: expected at most 65536 bytes, since its first 3 tokens may depend on more";
    assert_eq!(told, wanted);
}

#[test]
fn room_is_taken_before_the_work() {
    let loaded = limited(5).load();
    let prepare = loaded.about.prepare.as_ref().expect("text is prepared");
    let inputs = || vec![Some(texts(&["w4 w5", "w6"])), None, None, None];
    let mut taken = 0;
    prepare
        .prepare(inputs(), &mut |bytes| {
            taken += bytes;
            Ok(())
        })
        .expect("rows");
    assert_eq!(taken, 5 * 64 + 2 * 5 * 12);
    let full = || crate::types::Error::invalid("full");
    assert_eq!(prepare.prepare(inputs(), &mut |_| Err(full())), Err(full()));
}

#[test]
fn a_prompt_is_put_before_each_text() {
    let mut folder = FAMILIES[0].folder();
    let module = |at: u8, path: &str, kind: &str| json!({"idx": at, "path": path, "type": format!("x.{kind}")});
    folder.json("modules.json", &json!([module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")]));
    folder.json("1_Pooling/config.json", &json!({"pooling_mode": "mean"}));
    let sentence = json!({"default_prompt_name": "query", "prompts": {"query": "w9 ", "passage": "w8 "}});
    folder.json("config_sentence_transformers.json", &sentence);
    assert_eq!(uints(&rows(&folder.load(), &["w4"]).rows.inputs()[0]), [2, 9, 4, 3]);
}

#[test]
fn a_text_without_tokens_is_refused() {
    let mut folder = FAMILIES[0].folder();
    let mut file = tokenizer();
    file["post_processor"] = serde_json::Value::Null;
    folder.json("tokenizer.json", &file);
    let told = told(&folder.load(), &vec![("text", texts(&["w4", " "]))]);
    assert_eq!(told, "input \"text\", row 1: the tokenizer gives it no tokens");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let loaded = FAMILIES[0].folder().load();
    let ids = || super::ids::ids(&[1, 2], &[4, 5]);
    let text = || texts(&["w4"]);
    let one = "expected one of the inputs \"text\" and \"input_ids\"";
    assert_eq!(told(&loaded, &vec![("text", text()), ("input_ids", ids())]), one);
    assert_eq!(told(&loaded, &vec![("attention_mask", ids())]), one);
    let inputs = vec![("text", text()), ("attention_mask", ids())];
    assert_eq!(told(&loaded, &inputs), "input \"attention_mask\" does not go with \"text\"");
    let inputs = vec![("input_ids", ids()), ("text_pair", text())];
    let pairs = FAMILIES[0].classifier(2).load();
    assert_eq!(told(&pairs, &inputs), "input \"text_pair\" does not go with \"input_ids\"");
    let bytes = vec![("text", texts(&[&b"w4"[..], b"w5 \xff"]))];
    assert_eq!(told(&loaded, &bytes), "input \"text\", row 1: expected UTF-8, byte 3 is not");
}
