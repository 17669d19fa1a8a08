//! Adapters of an engine, and which of them a session uses.
//!
//! What has been read with some adapters is of no use with others: a session that changes them
//! begins anew, and its snapshots, forks and files know which made them. Going back to a choice
//! goes back to its snapshots, too.

use std::rc::Rc;

use super::{Engine, Session};
use crate::adapter::{Adapter, AdapterId, Base, Chosen};
use crate::error::Result;
use crate::model::turns::Turn;
use crate::ops::lora::Adapted;
use crate::plan::Call;
use crate::selfcheck;

impl Engine {
    /// What adapters are read for.
    pub fn base(&self) -> Base<'_> {
        Base { config: self.config(), container: self.container }
    }

    /// Takes an adapter that was opened for [`Engine::base`], under a name that no other of its
    /// adapters has.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a name that is taken;
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit) where the model's budget has no room for it.
    pub fn add_adapter(&self, name: &str, adapter: impl Into<Rc<Adapter>>) -> Result<AdapterId> {
        let mut registry = self.adapters.borrow_mut();
        let id = registry.add(name, adapter.into())?;
        let fits = registry.choose(&[(id, 1.0)]).and_then(|alone| self.expect_room(&alone, 0));
        if fits.is_err() {
            registry.remove(id);
        }
        fits.map(|()| id)
    }

    /// The same of one that another engine of the model has had: whether there is room for it is
    /// looked at when it is chosen.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a name that is taken.
    pub fn take_adapter(&self, name: &str, adapter: impl Into<Rc<Adapter>>) -> Result<AdapterId> {
        self.adapters.borrow_mut().add(name, adapter.into())
    }

    /// Bytes on the device of all choices of adapters that sessions use.
    pub fn adapter_bytes(&self) -> u64 {
        self.adapters.borrow().bytes()
    }

    /// Bytes on the device, beside the model, of a choice of its adapters, whether it is there or
    /// not.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) as [`Session::set_adapters`].
    pub fn bytes_of_adapters(&self, wanted: &[(AdapterId, f32)]) -> Result<u64> {
        let chosen = self.adapters.borrow().choose(wanted)?;
        Ok(if chosen.is_empty() { 0 } else { Adapted::bytes_of(&self.model, &chosen) })
    }

    /// What of a choice is not there yet.
    fn coming_bytes(&self, wanted: &[(AdapterId, f32)]) -> Result<u64> {
        let chosen = self.adapters.borrow().choose(wanted)?;
        let is_there = self.adapters.borrow_mut().made(&chosen).is_some();
        Ok(if is_there || chosen.is_empty() { 0 } else { Adapted::bytes_of(&self.model, &chosen) })
    }

    /// Whether the budget has room for a choice beside so many bytes of others.
    fn expect_room(&self, chosen: &[Chosen], others: u64) -> Result<()> {
        let bytes = others + Adapted::bytes_of(&self.model, chosen);
        self.model.budget.expect_room(self.config(), bytes, self.model.kv().bytes(), &in_words(chosen))
    }

    /// Its adapters with their names, in the order in which they came.
    pub fn adapters(&self) -> Vec<(AdapterId, Rc<str>, Rc<Adapter>)> {
        self.adapters.borrow().all().to_vec()
    }

    /// The adapter of this name.
    pub fn adapter(&self, name: &str) -> Option<AdapterId> {
        self.adapters.borrow().by_name(name)
    }

    /// Forgets an adapter; whether there was one. Sessions that use it go on with it until they
    /// choose anew.
    pub fn remove_adapter(&self, id: AdapterId) -> bool {
        self.adapters.borrow_mut().remove(id)
    }

    /// What sessions begin with from now on.
    ///
    /// # Errors
    /// As [`Session::set_adapters`].
    pub async fn use_adapters(self: &Rc<Self>, wanted: &[(AdapterId, f32)]) -> Result<()> {
        let own = self.adapters.borrow().default.clone();
        // What nothing else uses goes: the registry has one share, and this is another.
        let released = own.filter(|adapted| Rc::strong_count(adapted) == 2).map_or(0, |adapted| adapted.bytes());
        let (model, adapted) = (&self.model, self.adapted(wanted, released)?);
        if let Some(adapted) = &adapted {
            selfcheck::adapters::check(self, adapted).await?;
            // What is wrong with their pipelines is heard here, and not lost in a session's first
            // answer.
            let (state, next) = model.shortest()?;
            model.plans(&state, &next, Some(adapted)).await?;
        }
        self.adapters.borrow_mut().default = adapted;
        Ok(())
    }

    pub(super) fn default_adapters(&self) -> Option<Rc<Adapted>> {
        self.adapters.borrow().default.clone()
    }

    /// Whether a choice of this layout may publish A x, where the self-check has looked at one.
    pub(crate) fn known_layout(&self, layout: u64) -> Option<bool> {
        self.adapters.borrow().layouts.get(&layout).copied()
    }

    /// Waits until the self-check looks at no other choice.
    pub(crate) async fn turn_to_check(&self) -> Turn {
        let checking = self.adapters.borrow().checking.clone();
        checking.free().await;
        checking.take()
    }

    /// Keeps what the self-check has found.
    pub(crate) fn know_layout(&self, layout: u64, publishes: bool) {
        self.adapters.borrow_mut().layouts.insert(layout, publishes);
    }

    /// A choice on the GPU: one for all sessions that make the same. The caller will give
    /// `released` bytes of another one back.
    fn adapted(&self, wanted: &[(AdapterId, f32)], released: u64) -> Result<Option<Rc<Adapted>>> {
        let mut registry = self.adapters.borrow_mut();
        let chosen = registry.choose(wanted)?;
        if chosen.is_empty() {
            return Ok(None);
        }
        if let Some(made) = registry.made(&chosen) {
            return Ok(Some(made));
        }
        self.expect_room(&chosen, registry.bytes() - released)?;
        let adapted = Rc::new(Adapted::new(&self.model, chosen)?);
        registry.keep(&adapted);
        Ok(Some(adapted))
    }
}

impl Session {
    /// Uses these adapters from now on, each with its scale, and no others. Where that is another
    /// choice than before, the session has read nothing; what it had read it keeps among its
    /// snapshots, and finds again when it has the same adapters.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for an adapter that the engine does not have or
    /// that is named twice, and a scale that is no number;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory);
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit) where the model's budget has no room for
    /// them; [`Error::SelfCheck`](crate::Error::SelfCheck) where the device computes them wrong in
    /// every way. Then nothing has changed.
    pub async fn set_adapters(&mut self, wanted: &[(AdapterId, f32)]) -> Result<()> {
        let engine = self.engine.clone();
        // What only this session uses makes room: for a moment both are there.
        let own = self.decoder.adapted().filter(|adapted| Rc::strong_count(adapted) == 1);
        let released = own.map_or(0, |adapted| adapted.bytes());
        // Snapshots make room before it is taken.
        let coming = engine.coming_bytes(wanted)?;
        self.keep_budget_beside(engine.adapter_bytes() + coming - released);
        let adapted = engine.adapted(wanted, released);
        self.keep_budget();
        let adapted = adapted?;
        let chosen = adapted.as_ref().map_or(&[][..], |adapted| &adapted.chosen);
        if chosen == self.adapters() {
            return Ok(());
        }
        if let Some(adapted) = &adapted {
            selfcheck::adapters::check(&engine, adapted).await?;
        }
        let plans = self.decoder.plans(adapted.as_deref()).await?;
        self.settle();
        self.keep_border()?;
        self.forget();
        self.dropped = 0;
        self.decoder.adapt(plans, adapted);
        self.keep_budget();
        Ok(())
    }

    /// Another choice, for a session that has read nothing.
    pub(crate) async fn adapt(&mut self, adapted: Option<Rc<Adapted>>) -> Result<()> {
        let plans = self.decoder.plans(adapted.as_deref()).await?;
        self.decoder.adapt(plans, adapted);
        Ok(())
    }

    /// Queues a step of one token whose context is cut into more splits than it is long enough for.
    pub(crate) fn step_in_splits(&mut self, id: u32, splits: u32) -> Result<()> {
        self.make_room(1)?;
        self.decoder.step_in_splits(id, splits);
        Ok(())
    }

    /// The logits after one token whose context is cut into so many splits.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    #[cfg(feature = "internals")]
    #[doc(hidden)]
    pub async fn logits_in_splits(&mut self, id: u32, splits: u32) -> Result<Vec<f32>> {
        self.step_in_splits(id, splits)?;
        self.decoder.read_logits(1).await
    }

    /// Poisons what a step keeps of the adapters: what is not written cannot look right.
    pub(crate) fn poison_adapters(&self) {
        if let Some(adapted) = self.decoder.adapted() {
            adapted.poison(&self.engine.model.gpu);
        }
    }

    /// What the plan for one token or for many is made of.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn calls(&self, many: bool) -> Vec<Call> {
        self.decoder.calls(many)
    }

    /// The adapters that it uses, in an order of their own.
    pub fn adapters(&self) -> &[Chosen] {
        self.decoder.adapters()
    }
}

/// In words: `none`, or each with its scale where that is not 1.
pub(super) fn in_words(adapters: &[Chosen]) -> String {
    let one = |chosen: &Chosen| match chosen.scale {
        1.0 => format!("{:?}", chosen.name),
        scale => format!("{:?} times {scale}", chosen.name),
    };
    match adapters {
        [] => "no adapters".into(),
        _ => format!("adapters {}", adapters.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
