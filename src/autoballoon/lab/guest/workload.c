/*
 * What a lab guest does: `idle`, `eat` (steered from the console), `wave`, `cache`, or a script of that name; chosen by
 * ab.workload= on the kernel's command line, as are its parameters (ab.NAME=INTEGER).
 *
 * Every event is one console line, `@ab {"event": NAME, ...}`. Sizes are bytes unless the name says _mib, times are
 * seconds of CLOCK_MONOTONIC. Process 1 only starts the worker and tells how it died: the OOM killer never takes it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024L * 1024L)
#define DATA "/disk/data"
#define MOST_TAKES 256
/* A guest with less available than this has used what it had; looked at each time it has taken so many MiB. */
#define SHORT (8 * MIB)
#define LOOK_MIB 4
/* A read that failed is tried again so often, after so long. */
#define TRIES 50
#define TRY_AGAIN_S 0.1

static char cmdline[4096];
static char buffer[MIB];
/* Seconds slept so far before a read was tried again. */
static double retried;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Sleep so many seconds; returns how long it really was, 0 when there was nothing to sleep. */
static double rest(double seconds)
{
	if (seconds <= 0)
		return 0;
	double began = now();
	struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
	return now() - began;
}

static void tell(const char *format, ...)
{
	char line[512];
	va_list args;
	va_start(args, format);
	int length = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (length >= (int)sizeof line)
		length = sizeof line - 1;
	/* One write, so that a kernel message cannot land in the middle. */
	dprintf(1, "\n@ab %.*s\n", length, line);
}

static void fail(const char *what)
{
	tell("{\"event\": \"failed\", \"what\": \"%s: %s\"}", what, strerror(errno));
	exit(1);
}

static size_t slurp(const char *path, char *into, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, into, size - 1);
	if (fd >= 0)
		close(fd);
	into[got > 0 ? got : 0] = 0;
	return got > 0 ? got : 0;
}

static const char *word(const char *name)
{
	static char value[64];
	char key[64];
	snprintf(key, sizeof key, "ab.%s=", name);
	const char *at = strstr(cmdline, key);
	if (!at || sscanf(at + strlen(key), "%63s", value) != 1)
		return NULL;
	return value;
}

static long number(const char *name, long otherwise)
{
	const char *value = word(name);
	return value ? atol(value) : otherwise;
}

/* A counter of /proc/vmstat or, in bytes, a line of /proc/meminfo; -1 when it is not there. */
static long kernel_says(const char *path, const char *name)
{
	static char text[16384] = "\n";
	char key[64];
	slurp(path, text + 1, sizeof text - 1);
	snprintf(key, sizeof key, "\n%s", name);
	const char *at = strstr(text, key);
	if (!at)
		return -1;
	long value = atol(at + strlen(key));
	return strstr(path, "meminfo") ? value * 1024 : value;
}

static const char *memory(void)
{
	static char text[160];
	const char *path = "/proc/meminfo";
	long total = kernel_says(path, "MemTotal:"), available = kernel_says(path, "MemAvailable:");
	long unused = kernel_says(path, "MemFree:"), cached = kernel_says(path, "Cached:");
	snprintf(text, sizeof text, "\"total\": %ld, \"available\": %ld, \"free\": %ld, \"cached\": %ld", total,
		 available, unused, cached);
	return text;
}

/* What the kernel's own memory management counted of the balloon, pages: whichever driver it is. */
static const char *balloon(void)
{
	static char text[80];
	snprintf(text, sizeof text, "\"inflated\": %ld, \"deflated\": %ld",
		 kernel_says("/proc/vmstat", "balloon_inflate "), kernel_says("/proc/vmstat", "balloon_deflate "));
	return text;
}

/* Seconds in which something in the guest waited for memory, since boot; -1 without PSI. */
static double waited(void)
{
	static char text[256];
	slurp("/proc/pressure/memory", text, sizeof text);
	const char *at = strstr(text, "total=");
	return at ? atoll(at + 6) / 1e6 : -1.0;
}

/* Read `mib` MiB of the file from `from` on, through the page cache; returns the seconds it took. */
static double read_file(int fd, long from, long mib)
{
	double began = now();
	long at = from * MIB, end = at + mib * MIB, tries = 0;
	while (at < end) {
		ssize_t got = pread(fd, buffer, MIB - at % MIB, at);
		if (got == 0)
			break;
		if (got > 0) {
			at += got;
			tries = 0;
		} else if (errno == EIO && tries++ < TRIES) {
			/* A host that is out of memory when QEMU reads into the guest's lets that read fail. */
			retried += rest(TRY_AGAIN_S);
		} else {
			fail("reading " DATA);
		}
	}
	return now() - began;
}

static int open_data(long *mib)
{
	struct stat status;
	int fd = open(DATA, O_RDONLY);
	if (fd < 0 || fstat(fd, &status) < 0)
		fail("opening " DATA);
	*mib = status.st_size / MIB;
	return fd;
}

static void fill(uint64_t *chunk, long n)
{
	for (long i = 0; i < MIB / 8; i++)
		chunk[i] = (uint64_t)n * 0x9E3779B97F4A7C15u + i;
}

/* Whether the chunk still holds what fill() wrote: its sum, and each word of it. */
static int holds(const uint64_t *chunk, long n)
{
	uint64_t differs = 0;
	for (long i = 0; i < MIB / 8; i++)
		differs |= chunk[i] ^ ((uint64_t)n * 0x9E3779B97F4A7C15u + i);
	return !differs;
}

/*
 * Without a reserve: where the kernel's total follows the balloon it would refuse at once what is larger than that (mm/util.c,
 * OVERCOMMIT_GUESS), and no program takes 250 MiB in one piece.
 */
static void *take(long mib)
{
	void *at = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

struct shape {
	long anon_mib, rate_mib, passes, reread_mib;
	int fd;
};

/*
 * One phase of fixed work; returns its busy seconds: the wall's less those slept to keep the pace, to their real end. By
 * how much they ended late in all is told apart.
 */
static double phase(long n, const struct shape *s)
{
	long available = kernel_says("/proc/meminfo", "MemAvailable:");
	double began = now(), slept = 0, late = 0, reread_s = 0, before = retried;
	tell("{\"event\": \"begin\", \"n\": %ld, \"sleeps_s\": %.3f, \"takes\": %ld, \"available\": %ld}", n,
	     s->rate_mib ? (double)s->anon_mib / s->rate_mib : 0.0, s->anon_mib * MIB, available);
	char *memory = take(s->anon_mib);
	if (!memory)
		fail("taking memory");
	for (long i = 0, is_short = 0; i < s->anon_mib; i++) {
		double step = now();
		if (!is_short && i % LOOK_MIB == 0) {
			available = kernel_says("/proc/meminfo", "MemAvailable:");
			if ((is_short = available < SHORT))
				tell("{\"event\": \"short\", \"n\": %ld, \"taken\": %ld, \"available\": %ld}", n,
				     i * MIB, available);
		}
		fill((uint64_t *)(memory + i * MIB), i);
		double left = s->rate_mib ? 1.0 / s->rate_mib - (now() - step) : 0;
		if (left > 0) {
			double took = rest(left);
			slept += took;
			late += took > left ? took - left : 0;
		}
	}
	double taken = now();
	long reread = 0, steps = s->passes * s->anon_mib;
	for (long i = 0; i < steps; i++) {
		if (!holds((uint64_t *)(memory + i % s->anon_mib * MIB), i % s->anon_mib))
			fail("memory lost what was written to it");
		long due = (i + 1) * s->reread_mib / steps;
		reread_s += read_file(s->fd, reread, due - reread);
		reread = due;
	}
	munmap(memory, s->anon_mib * MIB);
	double ended = now();
	tell("{\"event\": \"phase\", \"n\": %ld, \"busy_s\": %.3f, \"wall_s\": %.3f, \"take_s\": %.3f, "
	     "\"work_s\": %.3f, \"reread_s\": %.3f, \"late_s\": %.3f, \"retried_s\": %.3f}",
	     n, ended - began - slept, ended - began, taken - began - slept, ended - taken - reread_s, reread_s,
	     late, retried - before);
	return ended - began - slept;
}

static void done(double busy, long phases)
{
	tell("{\"event\": \"done\", \"busy_s\": %.3f, \"phases\": %ld, \"oom_kills\": %ld, \"psi_some_s\": %.3f, %s, %s}",
	     busy, phases, kernel_says("/proc/vmstat", "oom_kill "), waited(), balloon(), memory());
}

static void wave(FILE *console)
{
	long mib, phases = number("phases", 3);
	struct shape s = {number("anon_mib", 250), number("rate_mib", 150), number("passes", 24),
			  number("reread_mib", 100), 0};
	double period = number("period_ms", 10000) / 1000.0, busy = 0;
	char line[64];
	s.fd = open_data(&mib);
	/* Read twice in a row the warm part is on the kernel's active list before the rest streams past it. */
	double filled = read_file(s.fd, 0, s.reread_mib);
	filled += read_file(s.fd, 0, s.reread_mib);
	filled += read_file(s.fd, s.reread_mib, number("file_mib", mib) - s.reread_mib);
	tell("{\"event\": \"filled\", \"s\": %.3f, \"psi_some_s\": %.3f, %s}", filled, waited(), memory());
	while (fgets(line, sizeof line, console) && strncmp(line, "go", 2))
		;
	double slot = now() + number("offset_ms", 0) / 1000.0;
	for (long n = 0; n < phases; n++) {
		rest(slot - now());
		busy += phase(n, &s);
		slot += period;
		if (slot < now())
			slot = now() + 0.5;
	}
	done(busy, phases);
}

/* Memory is full of page cache; after the go the whole file is read, over and over. */
static void cache(FILE *console)
{
	long mib, phases = number("phases", 3) * number("passes", 2);
	int fd = open_data(&mib);
	double busy = 0;
	char line[64];
	double filled = read_file(fd, 0, mib);
	tell("{\"event\": \"filled\", \"s\": %.3f, \"psi_some_s\": %.3f, %s}", filled, waited(), memory());
	while (fgets(line, sizeof line, console) && strncmp(line, "go", 2))
		;
	for (long n = 0; n < phases; n++) {
		tell("{\"event\": \"begin\", \"n\": %ld, \"sleeps_s\": 0}", n);
		double before = retried, took = read_file(fd, 0, mib);
		tell("{\"event\": \"phase\", \"n\": %ld, \"busy_s\": %.3f, \"wall_s\": %.3f, \"retried_s\": %.3f}", n,
		     took, took, retried - before);
		busy += took;
		rest(1.0);
	}
	done(busy, phases);
}

static void eat(FILE *console)
{
	void *taken[MOST_TAKES];
	char line[64];
	long size[MOST_TAKES], takes = 0, mib, file_mib;
	int fd = open_data(&file_mib);
	while (fgets(line, sizeof line, console)) {
		const char *trouble = "";
		if (sscanf(line, "take %ld", &mib) == 1 && mib > 0 && takes < MOST_TAKES) {
			void *at = take(mib);
			for (long i = 0; at && i < mib; i++)
				fill((uint64_t *)((char *)at + i * MIB), i);
			if (at)
				taken[takes] = at, size[takes++] = mib * MIB;
			else
				trouble = "no memory";
		} else if (!strncmp(line, "free", 4)) {
			while (takes > 0)
				takes--, munmap(taken[takes], size[takes]);
		} else if (sscanf(line, "read %ld", &mib) == 1) {
			read_file(fd, 0, mib < file_mib ? mib : file_mib);
		} else if (!strncmp(line, "drop", 4)) {
			int drop = open("/proc/sys/vm/drop_caches", O_WRONLY);
			if (drop < 0 || write(drop, "3", 1) != 1)
				trouble = "cannot drop caches";
			close(drop);
		} else if (strncmp(line, "memory", 6)) {
			trouble = "unknown command";
		}
		tell("{\"event\": \"answer\", \"trouble\": \"%s\", %s}", trouble, memory());
	}
}

/* Become the script of the initramfs; process 1 tells how it ended. */
static void script(const char *name)
{
	char path[80];
	snprintf(path, sizeof path, "/scripts/%s", name);
	execl("/bin/busybox", "sh", path, NULL);
	fail(path);
}

int main(void)
{
	struct termios mode;
	FILE *console = fdopen(0, "r");
	slurp("/proc/cmdline", cmdline, sizeof cmdline);
	if (tcgetattr(0, &mode) == 0) {
		mode.c_lflag &= ~ECHO;
		tcsetattr(0, TCSANOW, &mode);
	}
	tell("{\"event\": \"ready\", %s}", memory());
	pid_t worker = fork();
	if (worker == 0) {
		const char *which = word("workload");
		if (which && !strcmp(which, "wave"))
			wave(console);
		else if (which && !strcmp(which, "cache"))
			cache(console);
		else if (which && !strcmp(which, "eat"))
			eat(console);
		else if (which && strcmp(which, "idle"))
			script(which);
		for (;;)
			pause();
	}
	int status;
	while (waitpid(worker, &status, 0) < 0 && errno == EINTR)
		;
	if (worker > 0 && WIFSIGNALED(status))
		tell("{\"event\": \"oom\", \"signal\": %d, \"oom_kills\": %ld, %s}", WTERMSIG(status),
		     kernel_says("/proc/vmstat", "oom_kill "), balloon());
	else if (worker > 0)
		tell("{\"event\": \"failed\", \"what\": \"the workload ended with %d\"}", WEXITSTATUS(status));
	for (;;)
		pause();
}
