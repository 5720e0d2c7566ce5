//! Which preset a configuration starts from.

use rescore_agents::Algorithm;

use super::layers::last_text;
use super::schema::unknown_name;
use super::{ConfigError, Setting, moved};
use crate::backend::computes_at_once;

/// The preset for a processor.
const SMALL: &str = "small";
/// The preset for a GPU.
const FULL: &str = "full";

/// Whether a device of a GPU backend computes on the processor, as a software driver does; asked
/// with the backend's name and the device, a number or "auto".
pub type OnProcessor = fn(backend: &str, device: &str) -> bool;

/// What decides where nobody names a preset.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The preset of the run that is gone on with.
    pub begun: Option<&'a str>,
    /// Name of the backend.
    pub backend: &'a str,
    /// Its device.
    pub device: &'a str,
    /// Asked about the device where it matters; without it a GPU backend computes on a GPU.
    pub on_processor: Option<OnProcessor>,
}

/// A preset and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub name: &'static str,
    /// What follows "preset `NAME`, ".
    pub why: String,
}

/// The preset of an algorithm that has several: the one that the highest of `settings` names,
/// otherwise what suits the circumstances, otherwise the first.
///
/// # Errors
/// When there is no such preset.
pub fn choose(
    algorithm: &Algorithm,
    settings: &[Setting],
    circumstances: &Circumstances<'_>,
) -> Result<Option<Choice>, ConfigError> {
    let presets = algorithm.presets();
    let several = presets.len() > 1;
    let Some((name, setting)) = last_text(settings, &["agent.preset", "preset"])? else {
        return Ok(several.then(|| by_default(&presets, circumstances)));
    };
    if let Some(known) = presets.iter().find(|preset| **preset == name)
        && several
    {
        return Ok(Some(Choice {
            name: known,
            why: format!("named by {}", setting.origin),
        }));
    }
    if let Some(instead) = moved::preset(algorithm.name, name) {
        let error = ConfigError::new(setting, format!("the preset `{name}` is gone"));
        return Err(error.with_hint(instead));
    }
    if several {
        return Err(unknown_name(setting, "preset", name, &presets));
    }
    let message = format!("`{}` has no presets", algorithm.name);
    Err(ConfigError::new(setting, message).with_hint("leave `preset` away"))
}

/// The preset of an algorithm with `presets` where nobody names one.
fn by_default(presets: &[&'static str], circumstances: &Circumstances<'_>) -> Choice {
    let Circumstances {
        backend, device, ..
    } = *circumstances;
    let known = |name: &str| presets.iter().copied().find(|preset| *preset == name);
    if let Some(name) = circumstances.begun.and_then(known) {
        let why = "with which the run was begun".to_owned();
        return Choice { name, why };
    }
    let (Some(small), Some(full)) = (known(SMALL), known(FULL)) else {
        let why = "the default of the algorithm".to_owned();
        return Choice {
            name: presets[0],
            why,
        };
    };
    if computes_at_once(backend) {
        return Choice {
            name: small,
            why: format!("because the backend {backend} computes on the processor"),
        };
    }
    let software = circumstances
        .on_processor
        .is_some_and(|ask| ask(backend, device));
    if software {
        return Choice {
            name: small,
            why: format!(
                "because the device {device} of the backend {backend} is a driver that computes on \
                 the processor"
            ),
        };
    }
    Choice {
        name: full,
        why: format!("because the backend {backend} computes on a GPU"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 4] = ["textbook", "reference", SMALL, FULL];

    fn on<'a>(backend: &'a str, device: &'a str, software: OnProcessor) -> Circumstances<'a> {
        Circumstances {
            begun: None,
            backend,
            device,
            on_processor: Some(software),
        }
    }

    #[test]
    fn a_processor_takes_the_small_preset_and_a_gpu_the_full_one() {
        // Device 1 is a software driver.
        let software: OnProcessor = |_, device| device == "1";
        for (backend, device, name, why) in [
            (
                "flex",
                "auto",
                SMALL,
                "because the backend flex computes on the processor",
            ),
            (
                "ndarray",
                "auto",
                SMALL,
                "because the backend ndarray computes on the processor",
            ),
            (
                "cuda",
                "auto",
                FULL,
                "because the backend cuda computes on a GPU",
            ),
            (
                "wgpu",
                "0",
                FULL,
                "because the backend wgpu computes on a GPU",
            ),
            ("vulkan", "1", SMALL, "computes on the processor"),
        ] {
            let choice = by_default(&ALL, &on(backend, device, software));
            assert_eq!(choice.name, name, "{backend} {device}");
            assert!(choice.why.ends_with(why), "{}", choice.why);
        }
        let unasked = Circumstances {
            on_processor: None,
            ..on("wgpu", "1", software)
        };
        assert_eq!(by_default(&ALL, &unasked).name, FULL);
    }

    /// Devices are listed only where the answer decides.
    #[test]
    fn devices_are_not_asked_about_in_vain() {
        let never: OnProcessor = |backend, _| panic!("asked about {backend}");
        assert_eq!(by_default(&ALL, &on("flex", "auto", never)).name, SMALL);
        assert_eq!(
            by_default(&ALL[..2], &on("wgpu", "auto", never)).name,
            "textbook"
        );
        let begun = Circumstances {
            begun: Some(SMALL),
            ..on("wgpu", "auto", never)
        };
        assert_eq!(by_default(&ALL, &begun).name, SMALL);
    }

    #[test]
    fn without_both_the_first_preset_is_the_default() {
        let software: OnProcessor = |_, _| true;
        for presets in [&ALL[..2], &ALL[..3], &["full", "textbook"]] {
            let choice = by_default(presets, &on("cuda", "auto", software));
            assert_eq!(choice.name, presets[0]);
        }
        // Another algorithm than the run's has other presets.
        let elsewhere = Circumstances {
            begun: Some("wide"),
            ..on("flex", "auto", software)
        };
        assert_eq!(by_default(&ALL, &elsewhere).name, SMALL);
    }

    #[test]
    fn the_highest_setting_names_the_preset() {
        let sac = Algorithm::find("sac").expect("built in");
        let named = |keys: &[(&str, &str)]| {
            let setting = |(key, value): &(&str, &str)| {
                Setting::option(key, *value, format!("--set {key}={value}"))
            };
            let settings: Vec<_> = keys.iter().map(setting).collect();
            choose(sac, &settings, &on("flex", "auto", |_, _| false))
        };
        let (short, long) = (("preset", "reference"), ("agent.preset", "textbook"));
        for (settings, name, why) in [
            (
                [short, long],
                "textbook",
                "named by --set agent.preset=textbook",
            ),
            (
                [long, short],
                "reference",
                "named by --set preset=reference",
            ),
        ] {
            let choice = named(&settings).expect("known").expect("several");
            assert_eq!((choice.name, choice.why.as_str()), (name, why));
        }
        let error = named(&[("preset", "refrence")]).expect_err("unknown");
        assert!(error.hint.is_some_and(|hint| hint.contains("`reference`")));
    }
}
