"""Models of others: fetched whole and verified, or not at all."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.checkpoint import CARD, CONFIG, TOKENIZER, WEIGHTS, load_checkpoint, save_checkpoint
from models.config import ModelConfig
from service.__main__ import main
from service.shared_models import PullError, listed, pull
from tests.training.small_checkpoints import VOCAB, random_checkpoint


class Web(ThreadingHTTPServer):
    """A folder behind HTTP on loopback, some paths answered in ways of their own."""

    def __init__(self, folder: Path) -> None:
        self.moved: dict[str, str] = {}
        self.endless: set[str] = set()
        self.cut: set[str] = set()
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(SimpleHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
        elif self.path in self.server.endless:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:  # nobody reads on
                self.close_connection = True
        elif self.path in self.server.cut:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared" / "mine"
    save_checkpoint(random_checkpoint(), folder)
    (folder / CARD).write_text('---\nlicense: mit\ntags: ["plays"]\n---\n# mine\n')
    (folder / "LICENSE").write_text("free\n")
    (folder / "run.sh").write_text("echo what nobody asked for\n")
    return folder


@pytest.fixture
def web(shared: Path) -> Iterator[Web]:
    with Web(shared.parent) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("form", ["path", "file", "http", "http/"])
def test_a_model_comes_whole_from_a_folder_or_a_url(
    form: str, shared: Path, web: Web, models: Path
) -> None:
    sources = {"path": str(shared), "file": shared.as_uri(), "http": f"{web.url}/mine"}
    files: dict[str, int] = {}
    source = sources.get(form, f"{web.url}/mine/")
    pulled = pull(source, models, told=files.__setitem__)
    assert pulled.folder == models / "mine"
    assert pulled.changed
    assert load_checkpoint(pulled.folder).digest == load_checkpoint(shared).digest == pulled.digest
    assert (pulled.folder / "LICENSE").read_text() == "free\n"
    assert "run.sh" not in names(pulled.folder), "only what a checkpoint has is asked for"
    assert files[WEIGHTS] == (shared / WEIGHTS).stat().st_size
    again = pull(source, models)
    assert not again.changed
    assert names(models) == ["mine"]


def test_a_digest_pins_what_is_taken(shared: Path, models: Path) -> None:
    digest = load_checkpoint(shared).digest
    with pytest.raises(PullError, match="not sha256:00: it was not taken"):
        pull(str(shared), models, digest="sha256:00")
    assert names(models) == []
    assert pull(str(shared), models, digest=digest).digest == digest


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, CONFIG])
def test_what_was_altered_on_the_way_is_not_taken(name: str, shared: Path, models: Path) -> None:
    content = bytearray((shared / name).read_bytes())
    place = content.index(b"lstm") if name == CONFIG else len(content) // 2
    content[place : place + 1] = b"#"
    (shared / name).write_bytes(content)
    with pytest.raises(PullError, match="shared/mine"):
        pull(str(shared), models)
    assert names(models) == []


def test_another_model_goes_only_where_that_is_said(shared: Path, models: Path) -> None:
    config = ModelConfig(vocab_size=VOCAB, embedding_size=8, hidden_sizes=(8,))
    old = save_checkpoint(random_checkpoint(config), models / "mine")
    with pytest.raises(PullError, match="holds another model: choose --name, or say --replace"):
        pull(str(shared), models)
    (shared / TOKENIZER).unlink()
    with pytest.raises(PullError, match=f"has no {TOKENIZER}"):
        pull(str(shared), models, replace=True)
    assert load_checkpoint(models / "mine").digest == old, "what was there stays until all has come"
    random_checkpoint().tokenizer.save(shared / TOKENIZER)
    assert pull(str(shared), models, replace=True).changed
    assert load_checkpoint(models / "mine").digest != old
    assert names(models) == ["mine"]


@pytest.mark.parametrize("name", ["../mine", "a/b", ".hidden", "", "x" * 97, "a b"])
def test_a_name_is_a_name_and_no_path(name: str, shared: Path, models: Path) -> None:
    if name:
        with pytest.raises(PullError, match="cannot be a model's name"):
            pull(str(shared), models, name=name)
    with pytest.raises(PullError, match="cannot be a model's name"):
        pull("http://127.0.0.1:9/..%2f..%2fetc", models)
    assert not models.exists()


def test_a_config_cannot_name_files_of_its_own(shared: Path, models: Path) -> None:
    config = shared / CONFIG
    config.write_text(config.read_text().replace(f'"{TOKENIZER}"', '"../../x"'))
    with pytest.raises(PullError, match=r"must name model.safetensors and tokenizer.model"):
        pull(str(shared), models)
    assert names(models) == []


def test_no_file_is_larger_than_it_may_be(web: Web, models: Path) -> None:
    for name in (CONFIG, WEIGHTS, TOKENIZER, CARD):
        web.endless = {f"/mine/{name}"}
        with pytest.raises(PullError, match=rf"{name} of .* is larger than the [\d,]+ bytes"):
            pull(f"{web.url}/mine", models)
    web.endless = set()
    assert names(models) == []


def test_what_would_take_too_much_is_refused_before_it_comes(shared: Path, models: Path) -> None:
    config = shared / CONFIG
    config.write_text(config.read_text().replace('"vocab_size": 300', '"vocab_size": 900000000'))
    with pytest.raises(PullError, match="more than --max-mb 2048"):
        pull(str(shared), models)


def test_an_answer_cut_short_is_not_taken(web: Web, models: Path) -> None:
    web.cut = {f"/mine/{WEIGHTS}"}
    with pytest.raises(PullError, match=WEIGHTS):
        pull(f"{web.url}/mine", models)
    assert names(models) == []


def test_a_redirect_leads_to_http_only(web: Web, shared: Path, models: Path) -> None:
    web.moved = {f"/old/{name}": f"/mine/{name}" for name in (CONFIG, WEIGHTS, TOKENIZER)}
    assert pull(f"{web.url}/old", models).name == "old"
    web.moved = {f"/bad/{CONFIG}": (shared / CONFIG).as_uri()}
    with pytest.raises(PullError, match=r"[Rr]edirection to url .* is not allowed"):
        pull(f"{web.url}/bad", models)


def test_a_redirect_never_leaves_https() -> None:
    from email.message import Message
    from io import BytesIO
    from urllib.request import Request

    from service.shared_models import _Redirects

    request = Request("https://example.org/mine/config.json")
    for target, follows in (("http://example.org/x", False), ("https://example.net/x", True)):
        try:
            found = _Redirects().redirect_request(
                request,
                BytesIO(),
                302,
                "",
                Message(),  # type: ignore[arg-type]
                target,
            )
        except PullError:
            found = None
        assert (found is not None) == follows


def test_where_nothing_is_and_what_is_no_address_is_told(
    web: Web, models: Path, tmp_path: Path
) -> None:
    for source, message in {
        str(tmp_path / "none"): "neither a folder nor a URL",
        f"{web.url}/none": "has no config.json|HTTP status 404",
        "ftp://127.0.0.1/mine": "the scheme must be one of http, https, file",
        "file://elsewhere/mine": "of this machine",
        "http://a:b@127.0.0.1/mine": "without user",
        "http://127.0.0.1:1/mine": "cannot be read",
        str(tmp_path): "has no config.json",
    }.items():
        with pytest.raises(PullError, match=message):
            pull(source, models)
    assert names(models) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(shared: Path, models: Path) -> None:
    (shared / TOKENIZER).unlink()
    os.mkfifo(shared / TOKENIZER)
    with pytest.raises(PullError, match=f"has no {TOKENIZER}"):
        pull(str(shared), models)


def test_a_folder_of_models_is_listed_with_what_the_cards_say(shared: Path) -> None:
    broken = shared.parent / "broken"
    broken.mkdir()
    (broken / CONFIG).write_text("{")
    (shared.parent / "no-model").mkdir()
    bad, good = listed(shared.parent)
    assert "damaged" in bad.fault
    assert (good.name, good.model_type, good.license, good.tags) == (
        "mine",
        "lstm",
        "mit",
        ("plays",),
    )
    assert good.digest == load_checkpoint(shared).digest
    with pytest.raises(PullError, match="no folder of models"):
        listed(shared / "none")


def test_the_commands(web: Web, models: Path) -> None:
    run = CliRunner()
    options = ["--models", str(models)]
    pulled = run.invoke(main, ["pull", f"{web.url}/mine", *options, "--name", "plays"])
    assert pulled.exit_code == 0, pulled.output
    assert f"lstm-serve serve --model {models / 'plays'}" in pulled.output
    table = run.invoke(main, ["list", *options])
    assert table.output.splitlines()[1].split()[:2] == ["plays", "lstm"]
    assert '"tags": ["plays"]' in run.invoke(main, ["list", *options, "--json"]).output
    refused = run.invoke(main, ["pull", f"{web.url}/none", *options])
    assert refused.exit_code == 1
    assert "Error: " in refused.output
