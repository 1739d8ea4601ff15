//! What a component exports: the strategy, and the optional interfaces it is probed for.

use std::ops::Deref;

use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::bindings::{self, abandoning, copying, covering, identifying, rehearsing, verifying};
use super::imports::{COVERS, DRILL, IDENTITY, OFFSITE, UNFINISHED, VERIFY, offers};
use super::state::State;

/// A component whose exports were looked up: ready to be instantiated.
#[derive(Clone)]
pub(super) struct Compiled {
    strategy: bindings::PluginPre<State>,
    verify: bool,
    drill: bool,
    identity: bool,
    offsite: bool,
    covers: bool,
    unfinished: bool,
}

/// The exports of one instance.
pub(super) struct Bound {
    strategy: bindings::Plugin,
    pub(super) verify: Option<verifying::Verifying>,
    pub(super) drill: Option<rehearsing::Rehearsing>,
    pub(super) identity: Option<identifying::Identifying>,
    pub(super) offsite: Option<copying::Copying>,
    pub(super) covers: Option<covering::Covering>,
    pub(super) unfinished: Option<abandoning::Abandoning>,
}

impl Compiled {
    /// Looks the exports up.
    ///
    /// # Errors
    /// One of them is not what the contract says.
    pub(super) fn new(linker: &Linker<State>, component: &Component, exports: &[String]) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let [verify, drill, identity, covers, unfinished] =
            [VERIFY, DRILL, IDENTITY, COVERS, UNFINISHED].map(|interface| offers(exports, interface));
        if verify {
            verifying::VerifyingPre::new(pre.clone())?;
        }
        if drill {
            rehearsing::RehearsingPre::new(pre.clone())?;
        }
        if identity {
            identifying::IdentifyingPre::new(pre.clone())?;
        }
        let offsite = offers(exports, OFFSITE);
        if offsite {
            copying::CopyingPre::new(pre.clone())?;
        }
        if covers {
            covering::CoveringPre::new(pre.clone())?;
        }
        if unfinished {
            abandoning::AbandoningPre::new(pre.clone())?;
        }
        Ok(Self { strategy: bindings::PluginPre::new(pre)?, verify, drill, identity, offsite, covers, unfinished })
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        self.strategy.engine()
    }

    /// Starts an instance.
    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Bound> {
        let instance = self.strategy.instance_pre().instantiate_async(&mut *store).await?;
        Ok(Bound {
            strategy: bindings::Plugin::new(&mut *store, &instance)?,
            verify: self.verify.then(|| verifying::Verifying::new(&mut *store, &instance)).transpose()?,
            drill: self.drill.then(|| rehearsing::Rehearsing::new(&mut *store, &instance)).transpose()?,
            identity: self.identity.then(|| identifying::Identifying::new(&mut *store, &instance)).transpose()?,
            offsite: self.offsite.then(|| copying::Copying::new(&mut *store, &instance)).transpose()?,
            covers: self.covers.then(|| covering::Covering::new(&mut *store, &instance)).transpose()?,
            unfinished: self.unfinished.then(|| abandoning::Abandoning::new(&mut *store, &instance)).transpose()?,
        })
    }
}

impl Deref for Bound {
    type Target = bindings::Plugin;

    fn deref(&self) -> &bindings::Plugin {
        &self.strategy
    }
}
