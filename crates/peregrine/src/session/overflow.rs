//! Conversations that are longer than the context: which turns are left out.

use super::requests::tokens_after;
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

/// Its tokens, and the first of an answer.
fn needs(fitting: &Fitting) -> u64 {
    fitting.whole.len() as u64 + 1
}

/// Where a conversation can begin, apart from its start: messages after the system's that would be
/// left out, for each turn but the first.
fn turns(messages: &[Message]) -> Vec<usize> {
    let first = messages.iter().take_while(|message| message.role == "system").count();
    (first + 1..messages.len()).filter(|i| messages[*i].role == "user").map(|i| i - first).collect()
}

impl Session {
    /// The conversation, without its oldest turns where that was asked and is needed.
    ///
    /// # Errors
    /// [`Error::ContextFull`](crate::Error::ContextFull) where even the last turn is too long, or
    /// nothing may be left out.
    pub(super) fn fitting(
        &mut self,
        template: &ChatTemplate,
        messages: &[Message],
        options: &GenerateOptions,
    ) -> Result<Fitting> {
        let context = u64::from(self.context_length());
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
        let turns = turns(messages);
        // The turns that were left out before, where that is still enough: the conversation goes
        // on.
        if turns.contains(&self.dropped)
            && let Some(consumed) = &self.consumed
        {
            let before = self.without(template, messages, self.dropped)?;
            if before.rendering.transcript().continues(consumed) && needs(&before) + answer <= context {
                return Ok(before);
            }
        }
        let part = match (self.leaving_a_quarter(template, messages, answer)?, turns.last()) {
            (Some(part), _) => part,
            // The last turn alone.
            (None, Some(last)) => self.without(template, messages, *last)?,
            (None, None) => all,
        };
        self.fits(needs(&part))?;
        self.dropped = part.dropped;
        Ok(part)
    }

    /// In the middle of an answer that has filled the context: leaves out more turns, and is then
    /// about to read what remains of the conversation, with the answer so far. Returns how many
    /// messages are left out now; `None`, and nothing has changed, where the last turn and its
    /// answer alone do not leave a quarter of the context.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); what the template says.
    pub(super) async fn shed(
        &mut self,
        template: &ChatTemplate,
        messages: &[Message],
        answer: &[u32],
    ) -> Result<Option<usize>> {
        let Some(part) = self.leaving_a_quarter(template, messages, answer.len() as u64)? else {
            return Ok(None);
        };
        let whole = [&part.whole, answer].concat();
        // The place that is left has read a part of the answer, which the transcript does not have
        // yet.
        self.consumed = None;
        let rest = self.go_back(|s| tokens_after(&whole, &s.ids, s.pending, &s.logits)).await?;
        self.push(rest.as_deref().unwrap_or(&whole));
        self.consumed = Some(part.rendering.transcript().clone());
        self.dropped = part.dropped;
        Ok(Some(part.dropped))
    }

    /// Without as few of the oldest turns, but at least one, as leave a quarter of the context
    /// beside `more` tokens.
    fn leaving_a_quarter(&self, template: &ChatTemplate, messages: &[Message], more: u64) -> Result<Option<Fitting>> {
        let (turns, context) = (turns(messages), u64::from(self.context_length()));
        let mut found = None;
        // Fewer turns never need more.
        let (mut least, mut most) = (0, turns.len());
        while least < most {
            let middle = (least + most) / 2;
            let part = self.without(template, messages, turns[middle])?;
            if needs(&part) + more <= context - context / 4 {
                (most, found) = (middle, Some(part));
            } else {
                least = middle + 1;
            }
        }
        Ok(found)
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
