"""Scenarios of launch scripts, pages and judges."""

import json
import os
import subprocess
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import fsspec
from PIL import Image

from tests.guards.removal import Fault, hold, refused

# Launch scripts: `launch` is a copy of the folder


def bash(*words, **options):
    return subprocess.run(["bash", *map(str, words)], capture_output=True, text=True, **options)


def repository(launch, files, added):
    """Makes a git repository of the folder above the scripts."""
    for name in (*files, *added):
        path = launch.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    git = ["git", "-C", launch.parent, "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--force", "launch", *files], check=True)


def packed(launch, directory, files, added=()):
    repository(launch, files, added)
    ended = bash(launch / "pack.sh", directory / "tree.tar.gz")
    assert ended.returncode == 0, ended.stderr
    listed = subprocess.run(
        ["tar", "-tzf", directory / "tree.tar.gz"], capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split() if not name.startswith("launch/")}


def a_secret_is_tracked(launch, directory):
    names = packed(launch, directory, ["code.py", ".env", "deep/.env.local"])
    hold(names == {"code.py"}, f"sends {names} to the hosts")


def a_key_is_tracked(launch, directory):
    names = packed(launch, directory, ["code.py", "keys/id_ed25519", "server.pem"])
    hold(names == {"code.py"}, f"sends {names} to the hosts")


def a_token_of_a_cloud_is_tracked(launch, directory):
    names = packed(launch, directory, ["code.py", "my-service-account.json"])
    hold(names == {"code.py"}, f"sends {names} to the hosts")


def a_file_lies_about(launch, directory):
    names = packed(launch, directory, ["code.py"], ["notes.txt"])
    hold(names == {"code.py"}, f"sends {names} to the hosts")


def rendered(launch, *flags):
    (launch.parent / "configs").mkdir(exist_ok=True)
    (launch.parent / "configs" / "demo.py").write_text("")
    given = [
        "--render", "--name=n", "--type=v5e", "--topology=4x4", "--image=i", "--bucket=gs://b",
        "--config=configs/demo.py",
    ]  # fmt: skip
    return bash(launch / "gke_jobset.sh", *given, *flags)


def arguments_of(launch, *flags):
    import yaml

    manifest = yaml.safe_load(rendered(launch, *flags).stdout)
    (job,) = manifest["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    return container["args"]


def an_argument_names_a_variable(launch, directory):
    hold("--config.a=$$(SECRET)" in arguments_of(launch, "--config.a=$(SECRET)"), "it is filled in")


def an_argument_holds_quotes(launch, directory):
    import yaml

    given = '--config.a=", "--evil'
    try:
        arguments = arguments_of(launch, given)
    except yaml.YAMLError as error:
        raise Fault(f"the manifest is broken: {error}") from error
    hold(arguments[-1] == given, f"more arguments than were given: {arguments[-2:]}")


def an_argument_holds_a_line_break(launch, directory):
    ended = rendered(launch, "--config.a=x\n    privileged: true")
    hold(ended.returncode == 1 and "without line breaks" in ended.stderr, "lines in the manifest")


def a_name_is_yaml(launch, directory):
    ended = rendered(launch, "--name=n\n  annotations: {}")
    hold(ended.returncode == 2, "the name writes into the manifest")


def an_image_is_yaml(launch, directory):
    ended = rendered(launch, "--image=i\n      privileged: true")
    hold(ended.returncode == 2, "the image writes into the manifest")


def a_service_account_is_yaml(launch, directory):
    ended = rendered(launch, "--service-account=x\n  hostNetwork: true")
    hold(ended.returncode == 2, "the account writes into the manifest")


def a_word_ends_the_quotes(launch, directory):
    marker = directory / "marker"
    word = f"'; touch {marker}; '"
    script = f'root={launch.parent}; source {launch}/common.sh; quoted echo "$1"'
    line = bash("-c", script, "bash", word).stdout
    bash("-c", line)
    hold(not marker.exists(), "a flag runs a command on the hosts")


def a_word_is_a_command(launch, directory):
    marker = directory / "marker"
    script = f'root={launch.parent}; source {launch}/common.sh; quoted echo "$1"'
    bash("-c", bash("-c", script, "bash", f"$(touch {marker})").stdout)
    hold(not marker.exists(), "a flag runs a command on the hosts")


def a_configuration_lies_elsewhere(launch, directory):
    ended = rendered(launch, "--config=/etc/passwd")
    hold(ended.returncode == 2, "names a file that the hosts do not get")


def a_bucket_names_files_outside(module, directory):
    class Store:
        def invalidate_cache(self): ...

        def exists(self, place):
            return True

        def find(self, place, detail):
            return {f"{place}/../../evil": {"size": 1}}

        def get_file(self, source, target):
            (directory / "got").write_text(target)

    module.fsspec = SimpleNamespace(
        core=SimpleNamespace(url_to_fs=lambda url: (Store(), "bucket/run"))
    )
    inside = directory / "a" / "b"
    inside.mkdir(parents=True)
    refused(
        ValueError, "expected names of files below it", lambda: module.restore(inside, "gs://b")
    )


def a_host_is_lost_while_it_copies(module, directory):
    store = fsspec.filesystem("memory")
    store.pipe_file("/kept/run/file", b"content")

    class Broken(type(store)):
        def get_file(self, source, target, **_):
            with open(target, "wb") as file:
                file.write(b"half")
            raise OSError("lost")

    broken = Broken()
    module.fsspec = SimpleNamespace(
        core=SimpleNamespace(url_to_fs=lambda url: (broken, "/kept/run"))
    )
    with suppress(OSError):
        module.restore(directory, "memory://kept/run")
    hold(not (directory / "file").exists(), "half a file passes for a whole one")


# Pages


def a_response_is_html(module, directory):
    shown = module.environment().from_string("{{ text }}").render(text="<script>evil()</script>")
    hold("<script" not in shown, "a response runs in the reader's browser")


def a_page_is_written_over_a_file(module, directory):
    import argparse

    words = "expected a file that ends in .html"
    refused(argparse.ArgumentTypeError, words, lambda: module.page("rows.parquet"))


def policy(module):
    parts = [part.split() for part in module._policy(["style"], "script").split(";")]
    return {part[0]: part[1:] for part in parts if part}


def a_script_is_slipped_in(module, directory):
    sources = policy(module).get("script-src", policy(module).get("default-src"))
    hold(all(source.startswith("'sha256-") for source in sources), f"runs scripts of {sources}")


def a_page_asks_the_network(module, directory):
    hold(policy(module).get("default-src") == ["'none'"], "a page may load what it wants")


def a_page_sends_a_form(module, directory):
    hold(policy(module).get("form-action") == ["'none'"], "a page may send what the reader types")


def a_page_changes_where_links_lead(module, directory):
    hold(policy(module).get("base-uri") == ["'none'"], "a page may change its base")


def a_policy_is_in_the_page(templates, directory):
    text = (templates / "report.html").read_text()
    hold('http-equiv="Content-Security-Policy"' in text, "no browser hears of the policy")


def a_digest_leads_out_of_the_folder(module, directory):
    from perl_jax.page.run_files import RunFiles

    run = directory / "run"
    (run / module.IMAGES).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(directory / f"secret{module.SUFFIX}", "PNG")
    up = "../" * (module.IMAGES.count("/") + 2)
    found = module.read_pictures(RunFiles(str(run)), [f"{up}secret"], 64)
    hold(not found, "a log shows pictures from outside of the run")


def text_turns_around(module, directory):
    hold("\u202e" not in module.legible("\u202egnp.exe"), "the reader sees another text")


def text_commands_the_terminal(module, directory):
    hold("\x1b" not in module.legible("\x1b]52;c;evil\x07"), "the terminal obeys the data")


def a_text_is_of_megabytes(module, directory):
    hold(len(module.legible("x" * 10**6, 100)) < 200, "one row fills the page")


def a_group_lacks_a_field(module, directory):
    words = "expected the fields of a group"
    refused(ValueError, words, lambda: module.Group.of({"step": 1}, "rollouts.jsonl"))


# Judges


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answer(self)

    def log_message(self, *_): ...


@contextmanager
def endpoint(module, directory, answer, **fields):
    """An endpoint whose server answers by this function of the request's handler."""
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = answer
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fields = {"retries": 0, "timeout": 60.0, **fields}
    url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        with module.Endpoint(module.EndpointConfig(url, "judge", **fields), directory) as made:
            yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler, body, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(body)


def reply(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def a_reply_has_no_end(module, directory):
    module.MAX_REPLY_BYTES = 10_000
    with endpoint(module, directory, lambda h: send(h, reply("x" * 10**6))) as judge:
        refused(module.EndpointError, "of a reply", lambda: judge.ask("?"))


def a_reply_comes_byte_by_byte(module, directory):
    # Each look at the clock finds it an hour later.
    module.time = SimpleNamespace(monotonic=iter(range(0, 10**9, 3600)).__next__)
    with endpoint(module, directory, lambda h: send(h, reply("yes")), timeout=60.0) as judge:
        refused(module.EndpointError, "no whole reply", lambda: judge.ask("?"))


def an_endpoint_speaks_of_something_else(module, directory):
    with endpoint(module, directory, lambda h: send(h, b"<html>")) as judge:
        refused(module.EndpointError, "expected a chat completion", lambda: judge.ask("?"))


def an_endpoint_asks_for_a_year(module, directory):
    slept = []
    module.time = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    busy = lambda h: send(h, b"", 429, Retry_After="31536000")  # noqa: E731
    with endpoint(module, directory, busy, retries=1) as judge:
        refused(module.EndpointError, "no answer in 2 requests", lambda: judge.ask("?"))
    hold(max(slept) <= 60, f"waits for {max(slept)} s")


def an_endpoint_is_always_busy(module, directory):
    asked = []
    module.time = SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)

    def busy(handler):
        asked.append(1)
        send(handler, b"", 503 if len(asked) < 9 else 400)

    with endpoint(module, directory, busy, retries=2) as judge:
        refused(module.EndpointError, "no answer in 3 requests", lambda: judge.ask("?"))


def an_endpoint_is_a_file(module, directory):
    call = lambda: module.EndpointConfig("file:///etc/passwd", "judge")  # noqa: E731
    refused(ValueError, "expected http:// or https://", call)


def a_password_stands_in_the_url(module, directory):
    # The configuration is recorded with every run, and the URL stands in messages.
    call = lambda: module.EndpointConfig("https://me:secret@host/v1", "judge")  # noqa: E731
    refused(ValueError, "api_key_env", call)


def a_kept_answer_is_damaged(module, directory):
    (directory / "kept.json").write_text('{"answer": 7}')
    call = lambda: module._read(directory / "kept.json")  # noqa: E731
    refused(ValueError, "expected a kept answer", call)


def the_key_is_missing(module, directory):
    os.environ.pop("PERL_JAX_NO_KEY", None)
    config = module.EndpointConfig("http://host", "judge", api_key_env="PERL_JAX_NO_KEY")
    call = lambda: module.Endpoint(config, directory)  # noqa: E731
    refused(ValueError, "it is not set", call)


def a_judge_is_recorded_as_a_number(module, directory):
    (directory / "judge.json").write_text('{"model": 7}')
    call = lambda: module.open_judge(None, directory, print)  # noqa: E731
    refused(ValueError, "expected the model of a judge", call)


def a_judge_fails_again_and_again(module, directory):
    asked = []

    class Failing:
        def ask(self, message):
            asked.append(message)
            raise module.EndpointError("nobody there")

        def kept(self, message):
            return None

    from perl_jax.endpoint import EndpointConfig

    judge = module.Judge(EndpointConfig("http://host", "judge"), directory, lambda text: None)
    judge._endpoint = Failing()
    for _ in range(3):
        with suppress(module.EndpointError):
            judge.ask("?")
    hold(len(asked) == 1, f"asks an endpoint that fails {len(asked)} times")
