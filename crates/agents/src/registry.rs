//! The algorithms by name, built-in and registered, and their settings as one type.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{OnceLock, RwLock};

use rescore_kernels::RescoreBackend;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::{
    Agent, Outline, Pace, RangeCheck, RangeError, Settings, Setup, dipo::DipoSettings,
    dpmd::DpmdSettings, dpmd_reference, idem::IdemSettings, idql::IdqlSettings, qsm::QsmSettings,
    qvpo::QvpoSettings, sac::SacSettings, score_sde::ScoreSdeSettings, sdac::SdacSettings,
    sdac_reference, td3::Td3Settings,
};

/// [`Settings`] of any algorithm.
trait AnySettings: fmt::Debug + Send + Sync {
    fn table(&self) -> toml::Table;
    fn check(&self, check: RangeCheck) -> RangeCheck;
    fn outline(&self) -> Outline;
    fn cloned(&self) -> Box<dyn AnySettings>;
    fn any(&self) -> &dyn Any;
}

impl<S: Settings> AnySettings for S {
    fn table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("settings are numbers, texts, lists and tables")
    }
    fn check(&self, check: RangeCheck) -> RangeCheck {
        Settings::check(self, check)
    }
    fn outline(&self) -> Outline {
        Settings::outline(self)
    }
    fn cloned(&self) -> Box<dyn AnySettings> {
        Box::new(self.clone())
    }
    fn any(&self) -> &dyn Any {
        self
    }
}

/// A named set of values.
struct Preset {
    name: &'static str,
    make: fn() -> Box<dyn AnySettings>,
}

/// An algorithm by name.
pub struct Algorithm {
    /// The name on command lines and in files.
    pub name: &'static str,
    /// One line on what it is.
    pub about: &'static str,
    presets: Vec<Preset>,
    parse: fn(toml::Table) -> Result<Box<dyn AnySettings>, toml::de::Error>,
    schema: fn() -> schemars::Schema,
    /// For a registered algorithm: by backend, the [`Build`] of it.
    builders: Vec<(TypeId, Box<dyn Any + Send + Sync>)>,
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Algorithm {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Makes an agent of settings of the type that it is for.
type Build<B> = fn(&dyn Any, &Setup<'_, B>) -> Option<Box<dyn Agent<B>>>;

fn build<S: Settings, B: RescoreBackend>(
    settings: &dyn Any,
    setup: &Setup<'_, B>,
) -> Option<Box<dyn Agent<B>>> {
    let settings = settings.downcast_ref::<S>()?;
    Some(settings.build(setup))
}

/// The built-in algorithms: a name, one line on it, the type of its settings, and the presets, the
/// default first. The same type may stand under several names with other defaults.
macro_rules! algorithms {
    ($($name:literal, $about:literal, $settings:ty, [$($preset:literal: $make:path),+ $(,)?];)*) => {
        fn builtin() -> Vec<Algorithm> {
            vec![$({
                let mut algorithm = Algorithm::new::<$settings>($name, $about);
                $(algorithm.add_preset($preset, || Box::new($make()));)+
                algorithm
            }),*]
        }

        fn build_builtin<B: RescoreBackend>(
            settings: &dyn Any,
            setup: &Setup<'_, B>,
        ) -> Option<Box<dyn Agent<B>>> {
            let builders: &[Build<B>] = &[$(build::<$settings, B>),*];
            builders.iter().find_map(|build| build(settings, setup))
        }
    };
}

algorithms! {
    "dpmd", "Diffusion policy mirror descent on modern critics",
        DpmdSettings, ["small": DpmdSettings::default, "full": DpmdSettings::full];
    "sdac", "Soft diffusion actor-critic on modern critics",
        SdacSettings, ["small": SdacSettings::default, "full": SdacSettings::full];
    "sac", "Soft actor-critic, the Gaussian baseline",
        SacSettings, [
            "small": SacSettings::small,
            "full": SacSettings::full,
            "textbook": SacSettings::default,
            "reference": SacSettings::reference,
        ];
    "dpmd-reference", "Diffusion policy mirror descent as published",
        dpmd_reference::DpmdSettings, ["reference": dpmd_reference::DpmdSettings::default];
    "sdac-reference", "Soft diffusion actor-critic as published",
        sdac_reference::SdacSettings, ["reference": sdac_reference::SdacSettings::default];
    "td3", "Twin delayed deterministic policy gradient, the deterministic baseline",
        Td3Settings, ["default": Td3Settings::default];
    "qsm", "Q-score matching: the policy's score is the gradient of the critics",
        QsmSettings, ["default": QsmSettings::default];
    "idem", "Iterated denoising energy matching: the score of the smoothed energy, by sampling",
        IdemSettings, ["default": IdemSettings::default];
    "qvpo", "Q-weighted variational policy optimisation: the best of many samples, by advantage",
        QvpoSettings, ["default": QvpoSettings::default];
    "dipo", "Imitation of replay actions that climb the critics",
        DipoSettings, ["default": DipoSettings::default];
    "idql", "Implicit diffusion Q-learning, online: an expectile value, choice among imitated actions",
        IdqlSettings, ["default": IdqlSettings::default];
    "score-sde", "A diffusion in continuous time that imitates the best of its own samples",
        ScoreSdeSettings, ["default": ScoreSdeSettings::default];
}

/// All algorithms: the built-in ones, then those that were registered.
fn registry() -> &'static RwLock<Vec<&'static Algorithm>> {
    static REGISTRY: OnceLock<RwLock<Vec<&'static Algorithm>>> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let builtin = builtin().into_iter();
        // Entries live as long as the program: settings refer to them from everywhere.
        RwLock::new(builtin.map(|entry| &*Box::leak(Box::new(entry))).collect())
    })
}

/// The name is taken.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("an algorithm called `{0}` is registered already; choose another name")]
pub struct Registered(pub &'static str);

impl Algorithm {
    /// An algorithm without presets and backends.
    fn new<S: Settings>(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            presets: Vec::new(),
            parse: |table| Ok(Box::new(table.try_into::<S>()?)),
            schema: || schemars::schema_for!(S),
            builders: Vec::new(),
        }
    }

    fn add_preset(&mut self, name: &'static str, make: fn() -> Box<dyn AnySettings>) {
        self.presets.push(Preset { name, make });
    }

    /// An algorithm of your own, with the defaults of `S`, for [`Algorithm::register`].
    pub fn of<S: Settings + Default>(name: &'static str, about: &'static str) -> Self {
        let mut algorithm = Self::new::<S>(name, about);
        algorithm.add_preset("default", || Box::new(S::default()));
        algorithm
    }

    /// Lets the algorithm of settings `S` run on the backend `B`.
    #[must_use]
    pub fn on<S: Settings, B: RescoreBackend>(mut self) -> Self {
        let build: Build<B> = build::<S, B>;
        self.builders.push((TypeId::of::<B>(), Box::new(build)));
        self
    }

    /// Makes the algorithm known by its name, for the rest of the program.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn register(self) -> Result<(), Registered> {
        // A panic elsewhere while the lock was held has left the list whole: pushing is all there is.
        let mut all = registry()
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.iter().any(|known| known.name == self.name) {
            return Err(Registered(self.name));
        }
        all.push(Box::leak(Box::new(self)));
        Ok(())
    }

    /// All algorithms, the built-in ones first.
    pub fn all() -> Vec<&'static Self> {
        registry()
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// The algorithm called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all()
            .into_iter()
            .find(|algorithm| algorithm.name == name)
    }

    /// Names of the presets, the default first.
    pub fn presets(&self) -> Vec<&'static str> {
        self.presets.iter().map(|preset| preset.name).collect()
    }

    /// The complete settings under the preset `name`.
    pub fn preset(&'static self, name: &str) -> Option<AgentSettings> {
        let preset = self.presets.iter().find(|preset| preset.name == name)?;
        Some(AgentSettings {
            algorithm: self,
            settings: (preset.make)(),
        })
    }

    /// The settings of the first preset.
    pub fn defaults(&'static self) -> AgentSettings {
        AgentSettings {
            algorithm: self,
            settings: (self.presets[0].make)(),
        }
    }

    /// The settings in `table`; keys that are left out have the defaults of their struct.
    ///
    /// # Errors
    /// When a key is of a wrong type or, in most tables, unknown.
    pub fn parse(&'static self, table: toml::Table) -> Result<AgentSettings, toml::de::Error> {
        Ok(AgentSettings {
            algorithm: self,
            settings: (self.parse)(table)?,
        })
    }

    /// The keys with their documentation.
    pub fn schema(&self) -> schemars::Schema {
        (self.schema)()
    }
}

/// The settings of an algorithm that is known by its name.
pub struct AgentSettings {
    /// Which algorithm it is.
    pub algorithm: &'static Algorithm,
    settings: Box<dyn AnySettings>,
}

impl AgentSettings {
    /// The plain table of all keys.
    pub fn table(&self) -> toml::Table {
        self.settings.table()
    }

    /// The settings as the type `S`, where they are.
    pub fn get<S: Settings>(&self) -> Option<&S> {
        self.settings.any().downcast_ref()
    }

    /// The discount and, for estimates, sizes.
    pub fn outline(&self) -> Outline {
        self.settings.outline()
    }

    /// Checks that every value is in its range, for a training loop of this pace.
    ///
    /// # Errors
    /// The first key that is not.
    pub fn validate(&self, pace: Pace) -> Result<(), RangeError> {
        self.settings.check(RangeCheck::at(pace)).finish()
    }

    /// A fresh agent; none where a registered algorithm was not registered for this backend. The
    /// settings must be valid.
    pub fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Option<Box<dyn Agent<B>>> {
        let settings = self.settings.any();
        build_builtin(settings, setup).or_else(|| {
            let builders = self.algorithm.builders.iter();
            let (_, build) = builders
                .clone()
                .find(|(backend, _)| *backend == TypeId::of::<B>())?;
            build.downcast_ref::<Build<B>>()?(settings, setup)
        })
    }
}

impl Clone for AgentSettings {
    fn clone(&self) -> Self {
        Self {
            algorithm: self.algorithm,
            settings: self.settings.cloned(),
        }
    }
}

impl fmt::Debug for AgentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl PartialEq for AgentSettings {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.table() == other.table()
    }
}

impl Serialize for AgentSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.table().serialize(serializer)
    }
}
