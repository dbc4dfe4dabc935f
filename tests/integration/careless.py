"""An importer that gives secrets away in every way that code can; its account's user name says in which.

It is installed as a package of somebody else's: see ``test_leaks.py``.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import html
import json
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from urllib.parse import quote

from likepion_provider.errors import FeedInvalid, NeedsVerification, PlatformChanged, PlatformError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import ListedEpisode, Platform, Progress

at_import = logging.getLogger("careless.at_import")
at_import.addHandler(logging.StreamHandler())
at_import.propagate = False
at_import.setLevel(logging.DEBUG)
stderr_at_import = sys.stderr
log = logging.getLogger(__name__)
held = []


class Careless(Platform):
    name = "careless"
    title = "Careless"
    base_url = "http://127.0.0.1:9"

    async def submit(self, job):
        secrets = [*job.credentials.secrets(), job.feed.url, job.settings.password]
        way, _, form = job.task.username.partition(".")
        for secret in secrets:
            await WAYS[way](FORMS.get(form, FORMS[""])(secret, job.task.username))
        return self._listed(job)

    async def collect(self, job):
        return self._listed(job) if job.reference else Progress(ImportState.NEW)

    def _listed(self, job):
        page = f"https://pod.example/{job.task.account_id}"
        episodes = tuple(ListedEpisode(f"{page}/{n}", guid=each.guid) for n, each in enumerate(job.feed.episodes))
        # Handed on with the links, as whatever a manager echoes of them.
        cookie = f"renewed={job.credentials.cookie[::-1]}"
        return Progress(ImportState.LISTED, "show", episodes, cookie=cookie)


FORMS = {
    "": lambda secret, user: secret,
    "quoted": lambda secret, user: quote(secret, safe=""),
    "basic": lambda secret, user: "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode(),
    "base64": lambda secret, user: base64.b64encode(secret.encode()).decode(),
    "json": lambda secret, user: json.dumps({"value": secret}),
    "repr": lambda secret, user: repr([secret]),
    "html": lambda secret, user: f"<b>{html.escape(secret)}</b>",
    "cut": lambda secret, user: f"the site says: {secret}"[: len("the site says: ") + 12],
    "padded": lambda secret, user: ("x" * 70_000 + secret) * 2,
}


class Repr:
    def __init__(self, words):
        self.words = words

    def __repr__(self):
        return f"<Repr {self.words}>"


async def echoed(words):
    """The manager does."""


async def printed(words):
    print(words)


async def printed_in_pieces(words):
    for n in range(0, len(words), 5):
        sys.stdout.write(words[n : n + 5])
        sys.stdout.flush()
    sys.stdout.write("\n")


async def printed_without_end(words):
    sys.stdout.write(words)


async def printed_to_stderr(words):
    print(words, file=sys.stderr)


async def printed_to_the_first_stdout(words):
    print(words, file=sys.__stdout__, flush=True)
    print(words, file=stderr_at_import, flush=True)


async def written_to_descriptors(words):
    os.write(1, words.encode() + b"\n")
    os.write(2, b"\xff\xfe" + words.encode() + b"\xff\n")
    copy = os.dup(1)
    os.write(copy, words.encode() + b"\n")
    os.close(copy)


async def logged(words):
    log.info("logged %s", words)
    log.warning("logged", extra={"more": words})
    log.error(words)


async def debugged(words):
    log.setLevel(logging.DEBUG)
    log.debug("debugged %r", words)


async def logged_as_an_object(words):
    log.info("an object: %s %r", Repr(words), {"deep": [Repr(words), words]})


async def structured(words):
    import structlog

    structlog.get_logger("careless").info("structured", words=words, deep={"list": [words], words: 1})


async def logged_by_a_handler_made_at_import(words):
    at_import.debug("at import: %s", words)


async def logged_by_a_handler_made_now(words):
    logger = logging.getLogger("careless.now")
    logger.propagate = False
    logger.handlers[:] = [logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.__stderr__)]
    logger.error("made now: %s", words)


async def logged_with_traceback(words):
    try:
        raise KeyError(words)
    except KeyError:
        log.exception("with a traceback")


async def by_a_child(words):
    code = "import sys; print(sys.argv[1], flush=True); sys.stderr.write(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, words], check=True)


async def by_a_child_that_stays(words):
    code = "import sys, time; print(sys.argv[1], flush=True); time.sleep(1); print(sys.argv[1], flush=True)"
    held.append(subprocess.Popen([sys.executable, "-c", code, words]))


async def by_a_fork(words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if not pid:
        os.write(1, words.encode() + b"\n")
        os._exit(0)
    os.waitpid(pid, 0)


async def by_a_thread(words):
    def work():
        raise RuntimeError(words)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def by_a_thread_that_stays(words):
    def work():
        for _ in range(10):
            time.sleep(0.2)
            print(words, flush=True)

    threading.Thread(target=work, daemon=True).start()


async def warned(words):
    warnings.warn(words, stacklevel=1)


async def at_exit(words):
    atexit.register(print, words)


async def never_retrieved(words):
    async def fail():
        raise RuntimeError(words)

    asyncio.create_task(fail())
    await asyncio.sleep(0)
    kept = asyncio.create_task(fail())
    held.append(kept)


async def never_awaited(words):
    async def forgotten():
        pass

    forgotten.__qualname__ = forgotten.__name__ = words
    forgotten()


async def by_the_hooks(words):
    try:
        raise ValueError(words)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        sys.unraisablehook(Unraisable(error))
        asyncio.get_running_loop().call_exception_handler({"message": words, "exception": error})


class Unraisable:
    err_msg = object = None

    def __init__(self, error):
        self.exc_type, self.exc_value, self.exc_traceback = type(error), error, error.__traceback__


async def raised(words):
    raise ValueError(words)


async def raised_as_a_group(words):
    try:
        raise KeyError(words)
    except KeyError as error:
        raise RuntimeError(f"wrapped {words}") from error


async def exited(words):
    raise SystemExit(words)


async def failed(words):
    raise PlatformError(f"the site says: {words}", remedy=f"Ask about {words}.")


async def failed_for_now(words):
    raise Transient(f"no answer from https://pod.example/add/{words}")


async def needs_person(words):
    raise NeedsVerification("a person must act", remedy=f"Open https://pod.example/?feed={words}")


async def changed(words):
    raise PlatformChanged("no such field", platform="careless", url=words, field=words)


async def invalid(words):
    raise FeedInvalid("no feed", url=words, where=words)


WAYS = {name: each for name, each in list(globals().items()) if asyncio.iscoroutinefunction(each)}
