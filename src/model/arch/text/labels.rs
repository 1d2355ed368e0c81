//! Names of classes, as `config.json` gives them.

use std::collections::HashSet;

use super::super::super::json::Json;
use crate::model::LoadError;
use crate::types::printable;

/// Most classes.
pub(in crate::model::arch) const LABELS_MAX: usize = 1 << 20;

/// Characters of a name, so many that a number after it has room.
const LABEL_CHARS_MAX: usize = 112;

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
    Ok(distinct((0..count).map(name).collect::<Result<_, LoadError>>()?))
}

/// Names that can be told apart and shown: what is not printable is escaped, the rest of a long name cut, and a name that stands
/// for an earlier class too has its number after it. `ImageNet` has two cranes.
pub(in crate::model::arch) fn distinct(names: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::with_capacity(names.len());
    let mut distinct = Vec::with_capacity(names.len());
    for (class, name) in names.into_iter().enumerate() {
        let mut name = printable(&name, LABEL_CHARS_MAX);
        if name.is_empty() || seen.contains(&name) {
            name = if name.is_empty() { format!("({class})") } else { format!("{name} ({class})") };
        }
        seen.insert(name.clone());
        distinct.push(name);
    }
    distinct
}
