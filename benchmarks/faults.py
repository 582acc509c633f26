"""What a run survives, counted: kills, full and read-only disks, signals, torn files, rivals, a clock that runs back.

    python benchmarks/faults.py [--quick] [--only WORD] [--json FILE]

Every trial breaks a run and resumes it, and fails unless (1) no point ever found in the journal or the result file is
missing or different afterwards, (2) the result file, where there is one, opens, (3) the resumed run ends with the very
bits of an unbroken one, (4) the broken one said why in one sentence, with the exit code 2, or 130 after a signal.
Runs are forked from this process, which has everything loaded, so that a random moment is one of the run and not of
Python's start; where it matters they are whole commands. Full and read-only disks are small tmpfs mounts, which take
root; without, a limit on the size of files stands in for the first, and the second is left out.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import numpy as np
from report import parser

from lattice_diffusion import results
from lattice_diffusion.cli import main as command_line
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import load
from lattice_diffusion.store import journal_path

SPEC = """
name = "faults"
seed = 1
t = [0.3, 0.5, 0.7, 0.8, 0.9]
radii = [1, 2]
n_samples = 300
target_stderr = 0.001
max_samples = 900
model = { name = "ising-chain", length = 60, beta = { start = 0.2, stop = 1.0, num = 24 } }
channel = { name = "gaussian" }
"""
# time() and friends, each call an hour before the last one
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static time_t back = 0;
int clock_gettime(clockid_t id, struct timespec *ts) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(id, ts);
    if (id == CLOCK_REALTIME) ts->tv_sec -= (back += 3600);
    return answer;
}
time_t time(time_t *out) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out) *out = ts.tv_sec;
    return ts.tv_sec;
}
int gettimeofday(struct timeval *tv, void *zone) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
"""
Points = dict[tuple[int, ...], str]
Trial = Callable[[Path], None]


class Failed(Exception):
    """A trial that lost something."""


class Bench:
    """A folder, the numbers of an unbroken run, and how long that takes."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.spec = folder / "faults.toml"
        self.spec.write_text(SPEC)
        run(load(self.spec), folder / "warm.h5", progress=False)
        start = time.monotonic()
        run(load(self.spec), folder / "unbroken.h5", progress=False)
        self.seconds = time.monotonic() - start
        self.unbroken = points_in(folder / "unbroken.h5")

    def fork(self, path: Path, *options: str, before: Callable[[], None] = lambda: None) -> int:
        """A run of the command line in a child; its stderr goes to PATH.err in the bench's folder."""
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            number = os.open(self.folder / f"{path.name}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(number, 2)
            before()
            code = command_line(["run", str(self.spec), "--out", str(path), "--workers", "1", *options])
        finally:
            os._exit(code)

    def command(self, path: Path, *options: str, **more: str) -> subprocess.Popen[str]:
        """A run as a command of its own, in its own process group."""
        words = [sys.executable, "-m", "lattice_diffusion", "run", str(self.spec), "--out", str(path), *options]
        environment = {**os.environ, **more}
        return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def said(self, path: Path) -> str:
        return (self.folder / f"{path.name}.err").read_text()

    def moment(self) -> None:
        time.sleep(self.rng.uniform(0.0, 1.1 * self.seconds))

    def half(self, path: Path) -> Points:
        """A run stopped half way, with its journal and its result file."""
        pid = self.fork(path)
        wait_for_points(path, self.rng.randrange(5, 60))
        os.kill(pid, signal.SIGINT)
        expect(code_of(pid) == 130, "not stopped by Ctrl-C")
        return points_in(path)

    def resume(self, path: Path, before: Points) -> None:
        """Nothing found before is missing or different; resuming gives the numbers of an unbroken run."""
        kept(path, before)
        expect(code_of(self.fork(path, "--resume")) == 0, f"not resumed: {self.said(path)}")
        expect(results.load(path).attrs["complete"], "resumed, but not complete")
        expect(points_in(path) == self.unbroken, "other numbers than an unbroken run")
        left = [other.name for other in path.parent.glob(f"{path.name}.*") if other.suffix != ".err"]
        expect(not left, f"left behind: {left}")


def expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise Failed(otherwise)


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def points_in(path: Path) -> Points:
    """Every point that the result file or the journal holds, with the hexadecimal digits of its CMI and errors."""
    found: Points = {}
    if path.exists():
        grid = results.load(path)["grid"]
        for index in zip(*np.nonzero(grid["done"].values), strict=True):
            found[tuple(int(i) for i in index)] = b"".join(
                grid[name].values[index].tobytes() for name in ("cmi", "cmi_stderr", "n_samples")
            ).hex()
    if journal_path(path).exists():
        for line in journal_path(path).read_bytes().splitlines(keepends=True)[1:]:
            if line.endswith(b"\n"):
                entry = json.loads(line)
                values = [np.asarray(entry["values"][name], float) for name in ("cmi", "cmi_stderr", "n_samples")]
                found[tuple(entry["index"])] = b"".join(x.tobytes() for x in values).hex()
    return found


def kept(path: Path, before: Points) -> Points:
    now = points_in(path)
    lost = [index for index, digits in before.items() if now.get(index) != digits]
    expect(not lost, f"lost or changed: {lost[:3]}")
    return now


def wait_for_points(path: Path, number: int) -> None:
    deadline = time.monotonic() + 120
    while not journal_path(path).exists() or journal_path(path).read_bytes().count(b"\n") <= number:
        expect(time.monotonic() < deadline, "no points within two minutes")
        time.sleep(0.002)


def one_sentence(text: str, *words: str) -> None:
    lines = [line for line in text.splitlines() if line and "points, " not in line and "points take" not in line]
    expect(len(lines) == 1 and all(word in lines[0] for word in words), f"said {text!r}")


def kill_nine(bench: Bench, path: Path, kills: int) -> int:
    """One file after another, each killed and resumed until it is complete."""
    before: Points = {}
    for count in range(kills):
        pid = bench.fork(path, "--resume")
        bench.moment()
        os.kill(pid, signal.SIGKILL)
        code_of(pid)
        before = kept(path, before)
        if count == kills - 1 or len(before) > 0.8 * len(bench.unbroken):
            bench.resume(path, before)
            path.unlink()
            before = {}
    return kills


def kill_command(bench: Bench, path: Path) -> None:
    """kill -9 of a whole command with two worker processes, which must die too."""
    psutil = __import__("psutil")
    process = bench.command(path, "--workers", "2")
    wait_for_points(path, bench.rng.randrange(1, 60))
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    expect(not alive, "workers outlive the run")
    bench.resume(path, points_in(path))


def stop(bench: Bench, path: Path, number: signal.Signals) -> None:
    pid = bench.fork(path)
    wait_for_points(path, 0)
    time.sleep(bench.rng.uniform(0.0, 0.8 * bench.seconds))
    before = points_in(path)
    os.kill(pid, number)
    code = code_of(pid)
    if code:
        expect(code == 130, f"exit code {code}")
        words = bench.said(path)
        expect("stopping when the points under way" in words, f"said {words!r}")
        expect(f"stopped after {len(points_in(path))} of {len(bench.unbroken)} points; run again with" in words, words)
        expect(not results.load(path).attrs["complete"], "stopped, and complete")
    bench.resume(path, before)


def stop_command(bench: Bench, path: Path, number: signal.Signals) -> None:
    """A signal to a whole process group, as a terminal and some batch systems send it, with two workers."""
    process = bench.command(path, "--workers", "2")
    wait_for_points(path, bench.rng.randrange(1, 60))
    before = points_in(path)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    expect(process.returncode == 130, f"exit code {process.returncode}: {err}")
    expect("Traceback" not in err, err)
    bench.resume(path, before)


@contextlib.contextmanager
def small_disk(bench: Bench, size: int) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=bench.folder))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def full_disk(bench: Bench, path: Path, *, mounts: bool) -> None:
    """The disk fills up at a random byte of what a run writes; then there is room again."""
    size = bench.rng.randrange(1, 40) * 1024
    if not mounts:
        limit = (size, resource.RLIM_INFINITY)
        code = code_of(bench.fork(path, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)))
        _after_full(bench, path, code)
        return
    with small_disk(bench, size) as place:
        path = place / path.name
        code = code_of(bench.fork(path))
        before = points_in(path)
        subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
        _after_full(bench, path, code, before)


def _after_full(bench: Bench, path: Path, code: int, before: Points | None = None) -> None:
    expect(code == 2, f"exit code {code} on a full disk")
    one_sentence(bench.said(path), "cannot be written", "run again with --resume")
    bench.resume(path, points_in(path) if before is None else before)


def read_only(bench: Bench, path: Path) -> None:
    with small_disk(bench, 2**24) as place:
        path = place / path.name
        before = bench.half(path)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        expect(code_of(bench.fork(path, "--resume")) == 2, "not refused")
        one_sentence(bench.said(path), "cannot be written to; choose another")
        expect(kept(path, before) == before, "changed")
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        bench.resume(path, before)


def truncated(bench: Bench, path: Path, *, journal: bool) -> None:
    """Either file cut at a random byte: the other one has everything."""
    before = bench.half(path)
    torn = journal_path(path) if journal else path
    os.truncate(torn, bench.rng.randrange(torn.stat().st_size))
    code = code_of(bench.fork(path, "--resume"))
    expect(code == 0, f"not resumed: {bench.said(path)}")
    kept(path, before)
    expect(points_in(path) == bench.unbroken, "other numbers than an unbroken run")


def truncated_and_alone(bench: Bench, path: Path) -> None:
    """A finished file cut at a random byte cannot be mended; it is refused, and not overwritten unasked."""
    shutil.copy(bench.folder / "unbroken.h5", path)
    os.truncate(path, bench.rng.randrange(path.stat().st_size))
    image = path.read_bytes()
    expect(code_of(bench.fork(path, "--resume")) == 2, "not refused")
    one_sentence(bench.said(path), "truncated")
    expect(path.read_bytes() == image, "overwritten")
    expect(code_of(bench.fork(path, "--force")) == 0 and points_in(path) == bench.unbroken, "not begun again")


def two_runs(bench: Bench, path: Path) -> None:
    pid = bench.fork(path)
    wait_for_points(path, bench.rng.randrange(1, 40))
    options = bench.rng.choice(["--resume", "--force"])
    rival = bench.fork(path, options)
    refused = code_of(rival) == 2 and "is being written by another run" in bench.said(path)
    expect(code_of(pid) == 0, "the first run was disturbed")
    expect(refused, f"the second run was not refused: {bench.said(path)!r}")
    expect(points_in(path) == bench.unbroken, "other numbers than an unbroken run")


def clock(bench: Bench, path: Path) -> None:
    """Every look at the wall clock shows an hour before the last one, also to the command that resumes."""
    source, shim = bench.folder / "clock.c", bench.folder / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    test = "import time; a, b = time.time(), time.time(); print(b < a - 3000)"
    backwards = {"LD_PRELOAD": str(shim)}
    told = subprocess.run([sys.executable, "-c", test], env={**os.environ, **backwards}, capture_output=True, text=True)
    expect(told.stdout.strip() == "True", "the clock does not run backwards")
    process = bench.command(path, "--workers", "1", **backwards)
    wait_for_points(path, 20)
    process.kill()
    process.communicate()
    before = points_in(path)
    again = bench.command(path, "--workers", "1", "--resume", **backwards)
    _, err = again.communicate(timeout=300)
    expect(again.returncode == 0, err)
    kept(path, before)
    expect(points_in(path) == bench.unbroken, "other numbers than an unbroken run")


def dask_workers(bench: Bench, path: Path, kills: int) -> int:
    """Dask worker processes killed in the middle of points; then the scheduler."""
    psutil = __import__("psutil")
    dask, place = [sys.executable, "-m", "dask"], bench.folder / "scheduler.json"
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(place)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([*dask, "scheduler", "--port", "0", *here], **quiet)
    workers = subprocess.Popen([*dask, "worker", "--nworkers", "2", "--nthreads", "1", *here], **quiet)
    try:
        while not (place.exists() and place.read_text().endswith("}")):
            time.sleep(0.05)
        address, done = json.loads(place.read_text())["address"], 0
        while done < kills:
            process = bench.command(path, "--scheduler", address)
            seen = bench.rng.randrange(1, 20)
            while done < kills and process.poll() is None:
                wait_for_points(path, seen)
                running = [c for c in psutil.Process(workers.pid).children() if "spawn_main" in " ".join(c.cmdline())]
                bench.rng.choice(running).kill()
                done, seen = done + 1, seen + bench.rng.randrange(30, 60)
                if seen > 0.8 * len(bench.unbroken):
                    break
            _, err = process.communicate(timeout=300)
            expect(process.returncode == 0, f"exit code {process.returncode}: {err}")
            expect(points_in(path) == bench.unbroken, "other numbers than an unbroken run")
            path.unlink()
        process = bench.command(path, "--scheduler", address)
        wait_for_points(path, 10)
        scheduler.kill()
        _, err = process.communicate(timeout=120)
        expect(process.returncode == 2, f"exit code {process.returncode} without a scheduler: {err}")
        expect("went away; the points done are kept: run again with --resume" in err and "Traceback" not in err, err)
        bench.resume(path, points_in(path))
    finally:
        for process in (workers, scheduler):
            process.terminate()
            process.wait(timeout=60)
    return kills + 1


def can_mount(folder: Path) -> bool:
    place = folder / "mount"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True)
    if made.returncode == 0:
        subprocess.run(["umount", place], check=True)
    return made.returncode == 0


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--quick", action="store_true", help="a few trials of each kind")
    options.add_argument("--only", default="", help="the kinds whose name holds this")
    given = options.parse_args()
    failures: dict[str, list[str]] = {}
    counts: dict[str, int] = {}

    def count(kind: str, trials: int, trial: Trial, *, needs: bool = True) -> None:
        if not trials or given.only not in kind:
            return
        failures[kind], counts[kind] = [], 0
        if not needs:
            print(f"{kind}: left out, it takes root or a compiler")
            return
        for k in range(trials):
            path = bench.folder / f"{len(counts)}-{k}.h5"
            try:
                made = trial(path)  # a trial of many faults says how many
                counts[kind] += 1 if made is None else int(made)
            except (Failed, subprocess.SubprocessError, ValueError, OSError) as error:
                counts[kind] += 1
                failures[kind].append(f"{type(error).__name__}: {error}")
        print(f"{kind:58s} {counts[kind]:4d} trials  {len(failures[kind]):3d} failed", flush=True)

    few = given.quick
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), random.Random(2026))
        mounts = can_mount(bench.folder)
        print(f"an unbroken run: {len(bench.unbroken)} points, {bench.seconds:.2f} s", flush=True)
        count("kill -9 of the runner", 1, lambda path: kill_nine(bench, path, 5 if few else 50))
        count("kill -9 of the runner, two workers", 0 if few else 4, lambda path: kill_command(bench, path))
        count("SIGTERM", 2 if few else 10, lambda path: stop(bench, path, signal.SIGTERM))
        count("Ctrl-C", 2 if few else 10, lambda path: stop(bench, path, signal.SIGINT))
        for number in (signal.SIGINT, signal.SIGTERM):
            kind = f"{number.name} to the whole group, two workers"
            count(kind, 0 if few else 3, lambda path, number=number: stop_command(bench, path, number))
        count("Dask worker killed amid a point, and its scheduler", not few, lambda path: dask_workers(bench, path, 10))
        disk = "full disk (tmpfs)" if mounts else "full disk (limit on the size of files)"
        count(disk, 3 if few else 20, lambda path: full_disk(bench, path, mounts=mounts))
        count("read-only folder (tmpfs)", 1 if few else 5, lambda path: read_only(bench, path), needs=mounts)
        count("result file cut, unfinished", 2 if few else 10, lambda path: truncated(bench, path, journal=False))
        count("journal cut", 2 if few else 10, lambda path: truncated(bench, path, journal=True))
        count("result file cut, finished", 2 if few else 10, lambda path: truncated_and_alone(bench, path))
        count("two runs on one file", 2 if few else 10, lambda path: two_runs(bench, path))
        count(
            "clock running backwards", 0 if few else 2, lambda path: clock(bench, path), needs=bool(shutil.which("cc"))
        )
    for kind, sentences in failures.items():
        for sentence in sentences:
            print(f"FAILED {kind}: {sentence}")
    print(f"{sum(counts.values())} trials, {sum(map(len, failures.values()))} failed")
    if given.json:
        table = {kind: {"trials": n, "failed": len(failures[kind])} for kind, n in counts.items()}
        Path(given.json).write_text(json.dumps(table, indent=1), encoding="utf-8")
    sys.exit(bool(sum(map(len, failures.values()))))


if __name__ == "__main__":
    main()
