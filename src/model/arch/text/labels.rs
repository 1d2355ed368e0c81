//! Names of classes, as `config.json` gives them.

use super::super::super::json::Json;
use crate::model::LoadError;

/// Most classes.
pub(super) const LABELS_MAX: usize = 1 << 20;

/// The name of each of `count` classes. Errors: as many are not named, by numbers from 0 on.
pub(in crate::model::arch) fn labels(config: &Json, count: usize) -> Result<Vec<String>, LoadError> {
    let Some(named) = config.object("id2label")? else {
        // So transformers calls them, which leaves such names out of the file where there are two.
        return Ok((0..count).map(|class| format!("LABEL_{class}")).collect());
    };
    let given = named.entries().count();
    if given != count {
        return Err(config.error("id2label", format!("expected a name for each of {count} classes, got {given}")));
    }
    let name = |class: usize| match named.text(&class.to_string())? {
        Some(name) => Ok(name.to_owned()),
        None => Err(config.error("id2label", format!("class {class} has no name"))),
    };
    (0..count).map(name).collect()
}
