"""The page: where things stand, and what happens when they are used."""

import html
import os
import tempfile
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from physseg.inference.web.address import free_port, reach_directly
from physseg.inference.web.limits import Limits
from physseg.inference.web.session import Models, Session
from physseg.inference.web.view import view
from physseg.toy_world.example import toy_scene

NOBODY = "none"
_TITLE = "physseg"
_CSS = """
.gradio-container { max-width: 1500px !important; }
#title h1 { margin-bottom: 0; } #title p { color: var(--body-text-color-subdued); margin-top: 2px; }
#model input, #other input { text-overflow: ellipsis; padding-right: 24px; }
#note .problem { color: #c4314b; font-weight: 600; } .dark #note .problem { color: #ff8a9b; }
#note:empty, #note:not(:has(span)) { display: none; }
@media (max-width: 800px) { #viewers { flex-direction: column; } }
footer { display: none !important; }
"""
_ABOUT = """
# physseg
Drop a picture, type words. Every pixel goes to the word that fits it best: words compete, so name what is there.
"""


def build_page(models: Models, limits: Limits = Limits()):  # noqa: B008  (frozen)
    """The page as a Gradio `Blocks`, not yet served.

    Raises:
        ImportError: the extra "web" is not installed.
    """
    gr = import_gradio()
    events = _Events(gr, models, limits)
    model_is_slow = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal"}
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(600, limits.idle)) as page:
        gr.Markdown(_ABOUT, elem_id="title")
        session = gr.State(None, time_to_live=limits.idle)
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                picture = gr.File(
                    label=f"Picture (up to {limits.upload} MB)", file_types=["image"], height=160, elem_id="picture"
                )
                example = gr.Button("Try an example", size="sm", elem_id="example")
                words = gr.Textbox(
                    label="Words",
                    placeholder="cat, dog, grass",
                    info=f"Parted by commas, {limits.words} at most.",
                    lines=3,
                    max_length=limits.words * (limits.letters + 2),
                    elem_id="words",
                )
                run = gr.Button("Segment", variant="primary", elem_id="run")
                note = gr.HTML(elem_id="note")
                more = gr.Textbox(
                    label="One more word",
                    placeholder="sky",
                    max_length=limits.letters + 2,
                    elem_id="more",
                    submit_btn="Add",
                )
                threshold = gr.Slider(
                    0, 1, 0, step=0.01, label="Threshold", info="Less sure pixels are “other”.", elem_id="threshold"
                )
                with gr.Row():
                    model = gr.Dropdown(
                        models.names, value=models.names[0], label="Model", elem_id="model", min_width=120
                    )
                    other = gr.Dropdown(
                        [NOBODY, *models.names], value=NOBODY, label="Beside it", elem_id="other", min_width=120
                    )
            with gr.Column(scale=3, min_width=320), gr.Row(elem_id="viewers"):
                first = _viewer(gr, "first", visible=True)
                second = _viewer(gr, "second", visible=False)

        inputs = [words, model, other, threshold, session]
        outputs = [session, first, second, note]
        picture.upload(events.open, [picture, *inputs], outputs, **model_is_slow)
        picture.clear(events.clear, None, outputs, queue=False)
        example.click(events.example, inputs, [*outputs, words], **model_is_slow)
        more.submit(events.add, [more, *inputs], [*outputs, words, more], **model_is_slow)
        for event in (words.submit, run.click, model.input, other.input):
            event(events.answer, inputs, outputs, **model_is_slow)
        threshold.input(events.look, inputs, outputs, trigger_mode="always_last", show_progress="hidden")
    page.queue(max_size=limits.queue, default_concurrency_limit=1, api_open=False)
    return page


def serve(
    models: Models,
    limits: Limits = Limits(),  # noqa: B008
    host: str = "127.0.0.1",
    port: int | None = None,
    ready: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve the page until `stop` is set, or for ever.

    Uploads lie in a folder of their own, which is deleted at the end; nothing else of the machine can be asked for.

    Args:
        host: address to listen at; 127.0.0.1 is this machine alone. port: None takes the first free one from 7860 on.
        ready: told the page's address when it is there.

    Raises:
        ImportError: the extra "web" is not installed. OSError: there is no such address, or the port is taken.
    """
    port = free_port(host, port)
    gr = import_gradio()
    from starlette.middleware import Middleware

    from physseg.inference.web.guard import Guard

    with tempfile.TemporaryDirectory(prefix="physseg-web-") as uploads:
        page = _with_uploads_in(uploads, lambda: build_page(models, limits))
        reach_directly(host)
        _, address, _ = page.launch(
            # Gradio's second look whether the page is there gives up after three seconds: a busy machine may take more.
            _frontend=False,
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            enable_monitoring=False,
            max_file_size=limits.upload * 2**20,
            state_session_capacity=limits.sessions,
            footer_links=[],
            theme=gr.themes.Default(
                primary_hue="cyan", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css=_CSS,
            app_kwargs={"middleware": [Middleware(Guard, uploads=Path(uploads))], "docs_url": None, "redoc_url": None},
        )
        ready(address)
        try:
            (stop or threading.Event()).wait()
        finally:
            page.close()


def import_gradio() -> Any:
    """Gradio, which asks nobody and tells nobody.

    Raises:
        ImportError: the extra "web" is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ImportError('the page needs Gradio: pip install "physseg[web]"') from error
    return gradio


def _with_uploads_in(folder: str, build: Callable[[], Any]) -> Any:
    """Components look up where uploads go when they are made."""
    os.environ["GRADIO_TEMP_DIR"] = folder
    return build()


def _viewer(gr, name: str, visible: bool):
    here = files("physseg.inference.web")
    return gr.HTML(
        value=None,
        html_template=(here / "viewer.html").read_text(encoding="utf-8"),
        css_template=(here / "viewer.css").read_text(encoding="utf-8"),
        js_on_load=(here / "viewer.js").read_text(encoding="utf-8"),
        elem_id=name,
        visible=visible,
        min_height=280,
        apply_default_css=False,
    )


class _Events:
    """What happens; every function returns the session, the two viewers and a note."""

    def __init__(self, gr, models: Models, limits: Limits) -> None:
        self.gr, self.models, self.limits = gr, models, limits

    def open(self, path: str | None, words: str, model: str, other: str, threshold: float, session: Session | None):
        """A picture was dropped."""
        try:
            session = Session(self.limits.read(path), Path(path).name)
        except (OSError, ValueError) as error:
            return self._problem(str(error).replace(str(path), Path(path).name), session)
        if not words.strip():
            return self._say("Now type words, parted by commas.", session)
        return self.answer(words, model, other, threshold, session)

    def clear(self):
        """The picture was taken away."""
        return None, None, self.gr.update(value=None), ""

    def example(self, words: str, model: str, other: str, threshold: float, session: Session | None):
        """A scene of the toy world with its words."""
        image, names, _ = toy_scene(height=384)
        typed = ", ".join(names)
        return *self.answer(typed, model, other, threshold, Session(image, "example.png")), typed

    def add(self, word: str, words: str, model: str, other: str, threshold: float, session: Session | None):
        """One more word competes."""
        separator = "; " if ";" in words else ", "
        together = separator.join(part for part in (words.strip().rstrip(",; "), word.strip()) if part)
        result = self.answer(together, model, other, threshold, session)
        failed = "problem" in result[-1]
        return *result, words if failed else together, word if failed else ""

    def answer(self, words: str, model: str, other: str, threshold: float, session: Session | None):
        """Words, or models, have changed."""
        try:
            vocabulary = self.limits.vocabulary(words)
            if session is None:
                return self._problem("Drop a picture first.", session)
            for name in self._chosen(model, other):
                self.models.answer(session, name, vocabulary)
        except (OSError, ValueError) as error:
            return self._problem(str(error), session)
        return self.look(words, model, other, threshold, session)

    def look(self, words: str, model: str, other: str, threshold: float, session: Session | None):
        """The same answers, another threshold: no model runs."""
        chosen = self._chosen(model, other)
        if session is None or any(name not in session.answers for name in chosen):
            return self.gr.skip(), self.gr.skip(), self.gr.skip(), self.gr.skip()
        views = [view(session, session.answers[name], threshold) for name in chosen]
        second = self.gr.update(value=views[1], visible=True) if len(views) > 1 else self.gr.update(visible=False)
        return session, views[0], second, ""

    def _chosen(self, model: str, other: str) -> list[str]:
        return [model] if other in (NOBODY, model) else [model, other]

    def _say(self, text: str, session: Session | None):
        return session, self.gr.skip(), self.gr.skip(), f"<span>{text}</span>"

    def _problem(self, text: str, session: Session | None):
        return session, self.gr.skip(), self.gr.skip(), f'<span class="problem">{html.escape(text)}</span>'
