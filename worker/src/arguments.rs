//! What the server tells the worker when it starts it.

use sconce::device::wire::PROBE;

/// How to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The device: `cpu`.
    pub(crate) device: String,
    /// May the server tell it to fail?
    pub(crate) allow_faults: bool,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Run(Arguments),
    /// To say what it can compute on.
    Probe,
    Version,
}

impl Arguments {
    /// Errors: an argument that is not known, or lacks its value.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Wanted, String> {
        let mut arguments = Self { device: "cpu".to_owned(), allow_faults: false };
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--device" => arguments.device = given.next().ok_or("--device: expected the name of a device")?,
                "--allow-faults" => arguments.allow_faults = true,
                PROBE => return Ok(Wanted::Probe),
                "--version" => return Ok(Wanted::Version),
                other => {
                    let expected = "--device NAME, --allow-faults, --probe or --version";
                    return Err(format!("expected {expected}, got \"{other}\""));
                }
            }
        }
        Ok(Wanted::Run(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Wanted};

    fn parse(given: &[&str]) -> Result<Wanted, String> {
        Arguments::parse(given.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let run = |device: &str, allow_faults| Ok(Wanted::Run(Arguments { device: device.to_owned(), allow_faults }));
        assert_eq!(parse(&[]), run("cpu", false));
        assert_eq!(parse(&["--allow-faults", "--device", "cuda:1"]), run("cuda:1", true));
        assert_eq!(parse(&["--version"]), Ok(Wanted::Version));
        assert_eq!(parse(&["--probe"]), Ok(Wanted::Probe));
        assert_eq!(parse(&["--device"]), Err("--device: expected the name of a device".to_owned()));
        let told = "expected --device NAME, --allow-faults, --probe or --version, got \"--help\"";
        assert_eq!(parse(&["--help"]), Err(told.to_owned()));
    }
}
