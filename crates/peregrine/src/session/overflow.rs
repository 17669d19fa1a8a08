//! Conversations that are longer than the context: which turns are left out.

use super::{GenerateOptions, Overflow, Session};
use crate::chat::{ChatTemplate, Message, Rendering};
use crate::error::Result;

/// The part of a conversation that is read.
pub(super) struct Fitting {
    pub rendering: Rendering,
    /// Its token ids.
    pub whole: Vec<u32>,
    /// Messages left out.
    pub dropped: usize,
}

impl Session {
    /// The conversation, without its oldest turns where that was asked and is needed.
    ///
    /// # Errors
    /// [`Error::ContextFull`](crate::Error::ContextFull) where even the last turn is too long, or nothing may be left out.
    pub(super) fn fitting(
        &mut self,
        template: &ChatTemplate,
        messages: &[Message],
        options: &GenerateOptions,
    ) -> Result<Fitting> {
        let context = u64::from(self.state.context_length);
        let needs = |fitting: &Fitting| fitting.whole.len() as u64 + 1;
        let all = self.without(template, messages, 0)?;
        if options.overflow == Overflow::Error {
            self.fits(needs(&all))?;
            return Ok(all);
        }
        // Room for an answer, so that it need not end in the middle.
        let answer = u64::from(options.max_tokens).min(context / 4);
        if needs(&all) + answer <= context {
            self.dropped = 0;
            return Ok(all);
        }
        let first = messages.iter().take_while(|message| message.role == "system").count();
        let turns: Vec<usize> =
            (first + 1..messages.len()).filter(|i| messages[*i].role == "user").map(|i| i - first).collect();
        // The turns that were left out before, where that is still enough: the conversation goes on.
        if turns.contains(&self.dropped)
            && let Some(consumed) = &self.consumed
        {
            let before = self.without(template, messages, self.dropped)?;
            if before.rendering.transcript().continues(consumed) && needs(&before) + answer <= context {
                return Ok(before);
            }
        }
        // As few as leave a quarter; fewer turns never need more. Failing that, the last turn alone.
        let (mut least, mut most) = (0, turns.len());
        while least < most {
            let middle = (least + most) / 2;
            let part = self.without(template, messages, turns[middle])?;
            match needs(&part) + answer <= context - context / 4 {
                true => most = middle,
                false => least = middle + 1,
            }
        }
        let dropped = turns.get(least).or(turns.last()).copied().unwrap_or(0);
        let part = if dropped == 0 { all } else { self.without(template, messages, dropped)? };
        self.fits(needs(&part))?;
        self.dropped = dropped;
        Ok(part)
    }

    /// The conversation without `dropped` messages after the system's.
    fn without(&self, template: &ChatTemplate, messages: &[Message], dropped: usize) -> Result<Fitting> {
        let first = messages.iter().take_while(|message| message.role == "system").count();
        let kept = match dropped {
            0 => None,
            _ => Some([&messages[..first], &messages[first + dropped..]].concat()),
        };
        let tokenizer = &self.engine.tokenizer;
        let rendering = template.rendering(tokenizer, kept.as_deref().unwrap_or(messages))?;
        let whole = rendering.ids(tokenizer)?;
        Ok(Fitting { rendering, whole, dropped })
    }
}
