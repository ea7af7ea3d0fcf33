//! Request fields for the action of a recurring call (S86): connect, or play an announcement.

use model::{Action, Announcement, ExtensionId, SoundId};
use switch::voicemail::Prompt;

use crate::App;
use crate::error::{ApiError, Fault};
use crate::input::{Field, Form, Rule};
use crate::routes::sessions::user_part;

pub(crate) const ACTION: Field = Field::new(
    "action",
    Rule::OneOf(&["connect", "play", "message"]),
    "`connect`: the extension's phone rings, then the destination, and the two are connected. `play`: only the destination is called; it hears \
     the sound, and the call ends. `message`: as `play`, but if an extension does not answer, the sound is left in its mailbox as a message",
)
.or("onAnswer");
pub(crate) const PROMPT: Field = Field::new(
    "promptId",
    Rule::OneOf(Prompt::NAMES),
    "For play or message: a built-in prompt, in the language of the extension's mailbox",
);
pub(crate) const AUDIO: Field =
    Field::new("audioId", Rule::Id, "For play or message: the id of a sound of the extension, snd_…");

/// The action requested by a form; `None` if it names none. Fields that the form leaves out are taken from `old`.
pub(crate) async fn action(
    app: &App,
    form: &Form,
    extension: &ExtensionId,
    old: &Action,
) -> Result<Option<Action>, ApiError> {
    let refused = |field: &str, rule| Err(ApiError::field(Fault::BadValue, field, Some(rule)));
    let sent = match (form.text("promptId"), form.text("audioId")) {
        (None, None) => None,
        (Some(name), None) => Some(Announcement::Prompt(name.to_owned())),
        (None, Some(id)) => Some(Announcement::Audio(sound(app, id, extension).await?)),
        (Some(_), Some(_)) => {
            let rule = ("give either promptId or audioId, not both", "indique promptId o audioId, no ambos");
            return refused("audioId", rule);
        }
    };
    let word = form.text("action").or(sent.as_ref().map(|_| match old {
        Action::Connect => "connect",
        Action::Play(_) => "play",
        Action::Message(_) => "message",
    }));
    let Some(word) = word else { return Ok(None) };
    if word == "connect" {
        let field = if form.value("promptId").is_some() { "promptId" } else { "audioId" };
        let rule = (
            "is allowed only with the action play or message",
            "solo se permite con la acción play o message",
        );
        return if sent.is_some() { refused(field, rule) } else { Ok(Some(Action::Connect)) };
    }
    let Some(what) = sent.or_else(|| old.announcement().cloned()) else {
        let rule =
            ("play and message need a promptId or an audioId", "play y message necesitan promptId o audioId");
        return refused("action", rule);
    };
    Ok(Some(if word == "play" { Action::Play(what) } else { Action::Message(what) }))
}

/// Find a sound of this extension.
async fn sound(app: &App, id: &str, extension: &ExtensionId) -> Result<SoundId, ApiError> {
    let found = match SoundId::parse(id) {
        Ok(id) => app.directory_service().store().sound(&id).await?,
        Err(_) => None,
    };
    let found = found.filter(|sound| sound.extension == *extension);
    found.map(|sound| sound.id).ok_or_else(|| {
        let rule = (
            "the extension has no such sound: send one to /api/v1/voip/extensions/{id}/sounds",
            "la extensión no tiene ese sonido: envíe uno a /api/v1/voip/extensions/{id}/sounds",
        );
        ApiError::field(Fault::BadValue, "audioId", Some(rule))
    })
}

/// Reject an announcement to a service code: an application does not listen.
pub(crate) fn check_destination(action: &Action, destination: &str) -> Result<(), ApiError> {
    if action.announcement().is_none() || !user_part(destination).starts_with('*') {
        return Ok(());
    }
    let rule = (
        "no announcement can be played to a service code: give a number or an extension",
        "no se puede reproducir un anuncio a un código de servicio: indique un número o una extensión",
    );
    Err(ApiError::field(Fault::BadValue, "destinationNumber", Some(rule)))
}
