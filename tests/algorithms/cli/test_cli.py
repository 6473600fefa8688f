"""The `hecore` command: help, errors in one line, and key files."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

import hecore
from hecore.algorithms import cli
from hecore.algorithms.cli import console

from ..command import CONTROL, on_terminal, piped

PASSPHRASE = "correct horse battery"


def run(*arguments: str | Path, **options) -> Result:
    """The command inside this process: quick, and not on a terminal."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, [str(a) for a in arguments], **options)


def refused(result: Result) -> str:
    """The one line of an error raised on purpose."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return path


# --- help and usage --------------------------------------------------------------------------------------


def test_version():
    done = piped("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hecore {hecore.__version__}\n", "")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["keygen", "demo", "--version", "Paillier"]),
        (["keygen", "--help"], ["--out", "--bits", "--passphrase-file", "2048, 3072 or 4096"]),
        (["demo", "--help"], ["--trees", "--epochs", "--parties", "--kills", "--folder", "default: gbdt"]),
    ],
)
def test_help_fits_and_names_every_option(arguments, words, columns):
    done = piped(*arguments, COLUMNS=str(columns))
    assert done.returncode == 0
    assert done.stderr == ""
    assert not CONTROL.search(done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= columns
    for word in words:
        assert word in done.stdout


def test_without_a_command_there_is_help():
    result = run()
    assert result.exit_code == 2
    assert "keygen" in result.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--nope"], "--nope"),
        (["nope"], "nope"),
        (["demo", "--nope"], "--nope"),
        (["demo", "--trees", "many"], "--trees"),
        (["demo", "--trees", "0"], "--trees"),
        (["demo", "--epochs", "0"], "--epochs"),
        (["demo", "--parties", "4"], "--parties"),
        (["demo", "--folder"], "--folder"),
        (["keygen"], "--out"),
        (["keygen", "--out", "k", "--bits", "2048.5"], "--bits"),
    ],
)
def test_wrong_usage_is_two_and_names_the_word(arguments, word):
    result = run(*arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert word in result.stderr


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--algorithm", "linear", "--epochs", "1000000"], "epochs = 1000000 is not in 1 … 100000"),
        (["--algorithm", "other"], "algorithm = 'other': one of 'gbdt', 'linear'"),
        (["--folder", "/dev/null"], "/dev/null is there already: choose another name"),
        (
            ["--key-bits", "1024"],
            "key_bits = 1024: a modulus of 1024 bits protects nothing: use 2048 or more",
        ),
        (["--key-bits", "2050"], "not a multiple of 128: use 2048, 3072 or 4096"),
        (["--key-bits", "65536"], "longer than the 8192 supported"),
        (["--backend", "abacus"], "no backend 'abacus' (it has auto, "),
    ],
)
def test_a_bad_parameter_of_the_demo_is_one_line_before_anything_starts(
    monkeypatch, tmp_path, arguments, text
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told = refused(run("demo", *arguments))
    assert text in told
    assert "insecure_test_key" not in told  # which is for programs
    assert list(tmp_path.iterdir()) == []


def test_a_bad_backend_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("HECORE_BACKEND", "abacus")
    assert "'abacus'" in refused(run("demo"))


def test_an_error_in_a_real_process_has_no_traceback():
    done = piped("demo", "--algorithm", "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: algorithm = 'none': one of 'gbdt', 'linear'\n"


@pytest.mark.parametrize("name", ["[bold]key", "[", "key [/bold]", ":smile:"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(tmp_path, name, passphrase):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert f"{path} exists" in refused(run("keygen", "--out", path, "--passphrase-file", passphrase))


def test_the_traceback_of_a_bug_shows_no_local_values(monkeypatch, tmp_path, passphrase):
    """A passphrase is among them."""
    assert cli.app.pretty_exceptions_show_locals is False

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(hecore, "save_key", broken)
    result = run("keygen", "--out", tmp_path / "k", "--passphrase-file", passphrase)
    assert type(result.exception) is RuntimeError  # not taken for an error raised on purpose


# --- keygen ----------------------------------------------------------------------------------------------


def test_a_key_pair_comes_back_as_it_was_made(tmp_path, passphrase):
    out = tmp_path / "my [bold]key"
    result = run("keygen", "--out", out, "--passphrase-file", passphrase)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my [bold]key", "my [bold]key.pub", "passphrase"]
    private, public = hecore.load_key(out, PASSPHRASE), hecore.load_key(f"{out}.pub")
    assert isinstance(private, hecore.PrivateKey)
    assert isinstance(public, hecore.PublicKey)
    assert private.public == public
    assert public.bits == 2048
    ciphertexts = hecore.Encryptor(public).encrypt([1.5, -2.0])
    assert hecore.Decryptor(private).decrypt(ciphertexts).tolist() == [1.5, -2.0]
    assert result.stdout.splitlines() == [
        f"private key  {out}  (mode 0600, encrypted; do not lose its passphrase)",
        f"public key   {out}.pub",
        f"fingerprint  {public.fingerprint.hex()}",
    ]
    with pytest.raises(hecore.KeyFileError, match="wrong passphrase"):
        hecore.load_key(out, PASSPHRASE + " ")


def test_modes_hold_whatever_the_umask(tmp_path, passphrase):
    before = os.umask(0)
    try:
        run("keygen", "--out", tmp_path / "k", "--passphrase-file", passphrase)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "k.pub").stat().st_mode) == 0o644
    assert PASSPHRASE not in (tmp_path / "k").read_text() + (tmp_path / "k.pub").read_text()


def test_longer_keys(tmp_path, passphrase):
    assert (
        run("keygen", "--out", tmp_path / "k", "--bits", "3072", "--passphrase-file", passphrase).exit_code
        == 0
    )
    assert hecore.load_key(tmp_path / "k.pub").bits == 3072


@pytest.mark.parametrize("existing", ["k", "k.pub"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten(tmp_path, passphrase, existing, kind):
    path = tmp_path / existing
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "target")
    before = sorted(p.name for p in tmp_path.iterdir())
    line = refused(run("keygen", "--out", tmp_path / "k", "--passphrase-file", passphrase))
    assert line == f"{path} exists: keys are not overwritten, choose another name"
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert kind != "file" or path.read_text() == "precious"


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("1024", "bits = 1024: a modulus of 1024 bits protects nothing"),
        ("0", "bits = 0: a modulus of 0 bits protects nothing"),
        ("-2048", "a modulus of -2048 bits protects nothing"),
        ("2049", "not a multiple of 128"),
        ("16384", "longer than the 8192 supported"),
    ],
)
def test_bad_lengths(tmp_path, passphrase, bits, text):
    assert text in refused(
        run("keygen", "--out", tmp_path / "k", "--bits", bits, "--passphrase-file", passphrase)
    )
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize(
    ("content", "used"),
    [
        (b"correct horse\n", "correct horse"),
        (b"correct horse", "correct horse"),
        (b"correct horse\r\nsecond line\n", "correct horse"),
        (b"  spaces count  \n", "  spaces count  "),
        ("Füße\u2028und Straße\x0b\x1c\n".encode(), "Füße\u2028und Straße\x0b\x1c"),
    ],
    ids=["newline", "none", "CRLF", "spaces", "odd separators"],
)
def test_the_passphrase_is_the_first_line_as_it_stands(tmp_path, monkeypatch, content, used):
    given = []
    stand_in = SimpleNamespace(public=SimpleNamespace(fingerprint=b"key"))
    monkeypatch.setattr(hecore, "generate_key", lambda bits: stand_in)
    monkeypatch.setattr(hecore, "save_key", lambda key, path, passphrase=None: given.append(passphrase))
    (tmp_path / "p").write_bytes(content)
    assert run("keygen", "--out", tmp_path / "k", "--passphrase-file", tmp_path / "p").exit_code == 0
    assert given == [used, None]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "needs at least 8 characters"),
        (b"\ncorrect horse\n", "needs at least 8 characters"),
        (b"seven77\n", "needs at least 8 characters"),
        (b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe", "is not UTF-8 text"),
        (b"a" * 5000, "is longer than 4096 characters"),
    ],
)
def test_a_bad_passphrase_is_refused_before_the_search_for_primes(tmp_path, monkeypatch, content, text):
    def search(bits):
        raise AssertionError("primes were searched")

    monkeypatch.setattr(hecore, "generate_key", search)
    (tmp_path / "p").write_bytes(content)
    assert text in refused(run("keygen", "--out", tmp_path / "k", "--passphrase-file", tmp_path / "p"))
    assert not (tmp_path / "k").exists()


def test_files_that_are_not_there_are_named(tmp_path, passphrase):
    line = refused(run("keygen", "--out", tmp_path / "k", "--passphrase-file", tmp_path / "none"))
    assert line == f"{tmp_path / 'none'}: No such file or directory"
    line = refused(run("keygen", "--out", tmp_path / "no" / "k", "--passphrase-file", passphrase))
    assert line == f"{tmp_path / 'no'} is no folder: make it first"
    assert "exists" in refused(run("keygen", "--out", ".", "--passphrase-file", passphrase))


def test_a_public_key_that_cannot_be_written_leaves_no_half_pair(tmp_path, monkeypatch, passphrase):
    save = hecore.save_key

    def full_disk(key, path, passphrase=None):
        if passphrase is None:
            raise OSError(28, "No space left on device", str(path))
        save(key, path, passphrase)

    monkeypatch.setattr(hecore, "save_key", full_disk)
    line = refused(run("keygen", "--out", tmp_path / "k", "--passphrase-file", passphrase))
    assert line == f"{tmp_path / 'k.pub'}: No space left on device"
    assert not (tmp_path / "k").exists()


def test_an_output_that_takes_ascii_only_gets_escapes(tmp_path, passphrase):
    out = tmp_path / "schlüssel"
    done = piped(
        "keygen", "--out", out, "--passphrase-file", passphrase, PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert r"schl\xfcssel" in done.stdout
    assert hecore.load_key(f"{out}.pub").fingerprint.hex() in done.stdout


def test_nobody_is_there_to_type_a_passphrase(tmp_path):
    done = piped("keygen", "--out", tmp_path / "k")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: nobody is there to type a passphrase: use --passphrase-file\n"
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_is_typed_twice_and_not_shown(tmp_path):
    with on_terminal("keygen", "--out", tmp_path / "k") as terminal:
        terminal.read(lambda text: "passphrase for the private key: " in text)
        terminal.type(PASSPHRASE + "\n")
        terminal.read(lambda text: text.count(": ") == 2)
        terminal.type(PASSPHRASE + "\n")
        assert terminal.end() == 0
    assert PASSPHRASE not in terminal.written.decode()
    key = hecore.load_key(tmp_path / "k", PASSPHRASE)
    assert terminal.frames()[-1] == f"fingerprint  {key.public.fingerprint.hex()}"


def test_control_c_at_the_prompt(tmp_path):
    with on_terminal("keygen", "--out", tmp_path / "k") as terminal:
        terminal.read(lambda text: "passphrase for the private key: " in text)
        terminal.type("\x03")
        assert terminal.end() == console.INTERRUPTED == 128 + signal.SIGINT
    assert terminal.frames()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []
