//! What a benchmark is told on its command line: numbers by name.

use anyhow::Context as _;

/// Reads `--name N` into the number of that name. Errors: an unknown name, or no number.
pub(crate) fn numbers<const COUNT: usize>(
    names: [&str; COUNT],
    defaults: [u64; COUNT],
) -> anyhow::Result<[u64; COUNT]> {
    let mut numbers = defaults;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let place = names.iter().position(|known| *known == name).and_then(|at| numbers.get_mut(at));
        let place = place.with_context(|| format!("expected one of {}, got {name}", names.join(", ")))?;
        let value = arguments.next().and_then(|value| value.parse().ok());
        *place = value.with_context(|| format!("{name}: expected a whole number"))?;
    }
    Ok(numbers)
}
