"""What people write down about features."""

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.notes import Note, Notes
from lmscope.server.failures import ReadOnly
from lmscope.server.schemas.feature import NoteBody
from lmscope.server.views.features import check_latent


def note_body(note: Note | None) -> NoteBody:
    """A note as the page shows it; an empty one where nothing is written down."""
    if note is None:
        return NoteBody()
    return NoteBody(text=note.text, star=note.star, tags=list(note.tags))


def write_note(atlas: Atlas, latent: int, body: NoteBody) -> NoteBody:
    """Put a note in the place of what was written down; the last one who writes wins.

    Returns:
        The note as it is kept.

    Raises:
        NotFound: There is no such latent.
        ReadOnly: The atlas lies in no folder of runs, so nothing can be kept.
        RecipeError: The text is too long, or a tag is none.
        ArtifactError: The disk is full, or the folder cannot be written.
    """
    check_latent(atlas, latent)
    notes = _required_notes(atlas)
    note = Note(atlas.meta.dictionary_digest, latent, body.text, body.star, tuple(body.tags))
    return note_body(notes.replace(note))


def _required_notes(atlas: Atlas) -> Notes:
    if atlas.notes is None:
        raise ReadOnly(
            f"Notes on '{atlas.meta.dictionary}' cannot be kept: its atlas lies in no folder of runs. Serve the "
            "run that it was packed from."
        )
    return atlas.notes
