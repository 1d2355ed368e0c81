//! Ids that clients made.

use crate::model::arch::text::tests::folder::{FAMILIES, Family, Inputs, integers, modernbert, prepare};
use crate::types::Tensor;

pub(super) fn ids(dims: &[usize], numbers: &[i64]) -> Tensor {
    integers(dims, numbers)
}

fn told(inputs: &Inputs) -> String {
    prepare(&FAMILIES[0].folder().load(), inputs).expect_err("refused").detail().to_owned()
}

#[test]
fn ids_and_masks_are_checked_row_by_row() {
    let masked = |mask: &[i64]| {
        told(&vec![("input_ids", ids(&[2, 3], &[2, 4, 3, 2, 5, 3])), ("attention_mask", ids(&[2, 3], mask))])
    };
    for (numbers, got) in
        [([2, 4, 3, 2, 20, 3], "20"), ([2, 4, 3, 2, -1, 3], "-1"), ([2, 4, 3, 2, i64::MAX, 3], "9223372036854775807")]
    {
        let wanted = format!("input \"input_ids\", row 1: expected numbers from 0 to 19, got {got}");
        assert_eq!(told(&vec![("input_ids", ids(&[2, 3], &numbers))]), wanted);
    }
    let mask = "expected ones, then zeros, got";
    assert_eq!(masked(&[1, 1, 1, 1, 0, 1]), format!("input \"attention_mask\", row 1: {mask} 1 after 0"));
    assert_eq!(masked(&[1, 2, 0, 1, 1, 1]), format!("input \"attention_mask\", row 0: {mask} 2"));
    assert_eq!(masked(&[1, 1, 1, 0, 0, 0]), format!("input \"attention_mask\", row 1: {mask} no ones"));
    let inputs = vec![("input_ids", ids(&[1, 2], &[2, 3])), ("attention_mask", ids(&[1, 3], &[1, 1, 0]))];
    assert_eq!(told(&inputs), "input \"attention_mask\": expected shape [1,2] as of input_ids, got [1,3]");
    let inputs = vec![("input_ids", ids(&[1, 2], &[2, 3])), ("token_type_ids", ids(&[1, 2], &[0, 2]))];
    assert_eq!(told(&inputs), "input \"token_type_ids\", row 0: expected numbers from 0 to 1, got 2");
    let long = told(&vec![("input_ids", ids(&[1, 17], &[4; 17]))]);
    assert_eq!(long, "input \"input_ids\", row 0: expected at most 16 tokens, got 17");
    let empty = told(&vec![("input_ids", ids(&[2, 0], &[]))]);
    assert_eq!(empty, "input \"input_ids\": expected tokens in each row, got shape [2,0]");
}

/// What stands behind the mask does not count, not even to be checked.
#[test]
fn what_is_masked_is_not_looked_at() {
    let loaded = FAMILIES[0].folder().load();
    let mut numbers = vec![4; 2 * 20];
    numbers[30] = 999;
    let mask: Vec<i64> = (0..2 * 20).map(|at| i64::from(at % 20 < 8)).collect();
    let inputs = vec![("input_ids", ids(&[2, 20], &numbers)), ("attention_mask", ids(&[2, 20], &mask))];
    let rows = prepare(&loaded, &inputs).expect("rows").rows;
    assert_eq!(rows.lengths(), Some(&[8, 8][..]));
}

#[test]
fn what_was_computed_on_can_be_shown() {
    let loaded = FAMILIES[2].folder().load();
    let prepare_of = loaded.about.prepare.as_ref().expect("text is prepared");
    let numbers = ids(&[2, 3], &[2, 4, 3, 2, 3, 0]);
    let inputs = vec![("input_ids", numbers), ("attention_mask", ids(&[2, 3], &[1, 1, 1, 1, 1, 0]))];
    let rows = prepare(&loaded, &inputs).expect("rows").rows;
    assert_eq!(prepare_of.shows()[0].name, "input_ids");
    // The padding is RoBERTa's.
    assert_eq!(prepare_of.show(0, &rows).expect("ids"), ids(&[2, 3], &[2, 4, 3, 2, 3, 1]));
    assert_eq!(prepare_of.show(1, &rows).expect("a mask"), ids(&[2, 3], &[1, 1, 1, 1, 1, 0]));
    let none = crate::types::Rows::uniform(Vec::new(), 1);
    assert_eq!(prepare_of.show(0, &none).expect_err("no rows").detail(), "expected packed rows of token ids");
}

#[test]
fn made_up_rows_are_valid() {
    for folder in FAMILIES.iter().map(Family::folder).chain([modernbert()]) {
        let loaded = folder.load();
        let prepare = loaded.about.prepare.as_ref().expect("text is prepared");
        let longest = prepare.length_max().expect("lengths differ");
        let rows = prepare.made_up(3, 10_000).expect("rows");
        assert_eq!((rows.count(), rows.longest()), (3, longest));
        assert!(folder.run(&rows).iter().flatten().flatten().all(|value| value.is_finite()));
        assert_eq!(prepare.made_up(usize::MAX, 10), None);
        assert_eq!(prepare.made_up(1 << 22, 10), None);
    }
}

#[test]
fn without_a_tokenizer_only_ids_are_taken() {
    let mut folder = FAMILIES[1].folder();
    folder.files.clear();
    let names: Vec<String> = folder.load().about.signature.inputs.iter().map(|input| input.name.clone()).collect();
    assert_eq!(names, ["input_ids", "attention_mask"]);
}
