/* The board as a process: a pseudo-terminal for a UART, a file for flash, a signal for a fault.
 *
 *     firmware.elf FLASH_FILE [--arena BYTES] [--slot BYTES] [SENSOR]
 *
 * SENSOR: --sensor FILE --channels N [--format int16|float32] [--rate HZ] [--once]: "measures" the rows of a file of
 * plain numbers, little-endian, at that rate (without one: as fast as the line takes them), again and again or once.
 *
 * It prints its pseudo-terminal's name. A restart keeps process, terminal and retained memory; killing the process
 * is a power cut.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../port.h"

#define ERASE_UNIT 4096u
#define WATCHDOG_SECONDS 60u
#define WRITE_PATIENCE_MS 1000 /* for a host that does not read; a UART would not wait either */
#define SENSOR_RING_MS 2000    /* rows older than that are lost, as in the ring of a real sensor */
#define AGAIN "--again"        /* FD, retained memory in hexadecimal digits, cause: after a restart */

static struct {
    char **argv;
    const char *flash_file;
    int line, keep; /* master of the terminal; its other end, kept open so that it never hangs up */
    uint8_t *flash;
    uint8_t cause;
    edge_retained retained;
    edge_port_info info;
} board = {.info = {.name = "posix",
                    .arena_bytes = 16u << 20,
                    .slot_bytes = 2u << 20,
                    .record_bytes = ERASE_UNIT,
                    .ticks_hz = 1000000000u}};

/* The file that plays the sensor. */
static struct {
    edge_sensor told;
    const char *file;
    const uint8_t *rows;
    uint64_t count, taken; /* rows of the file; rows measured so far, those that were lost among them */
    uint64_t began;
    bool once, on;
} sensor = {.told = {.format = EDGE_FLOAT32}};

static void fail(const char *what)
{
    fprintf(stderr, "error: %s (%s)\n", what, strerror(errno));
    exit(1);
}

/* Start this program anew in the same process, with nothing but terminal and retained memory as it was. Only
 * calls that a signal handler may make. */
static void start_again(uint8_t cause)
{
    static char line[16], state[2 * sizeof(edge_retained) + 1], why[2], line_2[16];
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = (const uint8_t *)&board.retained;
    int number[2] = {board.line, board.keep};
    char *texts[2] = {line, line_2};
    for (int k = 0; k < 2; k++) {
        char *end = texts[k] + 15;
        *end = 0;
        do {
            *--end = digits[number[k] % 10];
            number[k] /= 10;
        } while (number[k]);
        memmove(texts[k], end, (size_t)(texts[k] + 16 - end));
    }
    for (size_t i = 0; i < sizeof board.retained; i++) {
        state[2 * i] = digits[bytes[i] >> 4];
        state[2 * i + 1] = digits[bytes[i] & 15];
    }
    why[0] = digits[cause];
    static char *arguments[32];
    int n = 0;
    for (; board.argv[n] && n < 24 && strcmp(board.argv[n], AGAIN) != 0; n++)
        arguments[n] = board.argv[n];
    char *const more[] = {(char *)AGAIN, line, line_2, state, why};
    for (int i = 0; i < 5; i++)
        arguments[n++] = more[i];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(0);
    execv("/proc/self/exe", arguments);
    _exit(1);
}

static void on_fault(int number, siginfo_t *what, void *context)
{
    edge_retained *r = &board.retained;
    r->fault_kind = (uint32_t)number;
    r->address = (uint32_t)(uintptr_t)what->si_addr;
    r->pc = r->lr = r->status = 0;
    const ucontext_t *c = context;
#if defined(__x86_64__)
    r->pc = (uint32_t)c->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    r->pc = (uint32_t)c->uc_mcontext.pc;
#else
    (void)c;
#endif
    r->fault_boots = r->boots;
    start_again(3);
}

static void on_watchdog(int number)
{
    (void)number;
    start_again(2);
}

static void catch_signals(void)
{
    static uint8_t stack[64 << 10];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    if (sigaltstack(&other, NULL))
        fail("no stack for signals");
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigaction(faults[i], &action, NULL);
    struct sigaction watchdog = {.sa_handler = on_watchdog};
    sigaction(SIGALRM, &watchdog, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void open_line(void)
{
    board.line = posix_openpt(O_RDWR | O_NOCTTY);
    if (board.line < 0 || grantpt(board.line) || unlockpt(board.line))
        fail("no pseudo-terminal");
    const char *name = ptsname(board.line);
    board.keep = name ? open(name, O_RDWR | O_NOCTTY) : -1;
    struct termios raw;
    if (board.keep < 0 || tcgetattr(board.keep, &raw))
        fail("no pseudo-terminal");
    cfmakeraw(&raw);
    tcsetattr(board.keep, TCSANOW, &raw);
    printf("serial: %s\n", name);
    fflush(stdout);
}

/* Flash is a file that others see as it changes; new parts of it are erased. */
static void open_flash(void)
{
    const size_t size = (size_t)EDGE_SLOTS * board.info.slot_bytes;
    const int file = open(board.flash_file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct stat found;
    if (file < 0 || fstat(file, &found))
        fail(board.flash_file);
    if ((size_t)found.st_size != size && ftruncate(file, (off_t)size))
        fail(board.flash_file);
    board.flash = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (board.flash == MAP_FAILED)
        fail(board.flash_file);
    close(file);
    if ((size_t)found.st_size < size)
        memset(board.flash + found.st_size, 0xFF, size - (size_t)found.st_size);
}

static uint32_t sensor_row_bytes(void)
{
    return sensor.told.channels * (sensor.told.format == EDGE_INT16 ? 2u : 4u);
}

static void open_sensor(void)
{
    const int file = open(sensor.file, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file < 0 || fstat(file, &found))
        fail(sensor.file);
    sensor.count = (uint64_t)found.st_size / sensor_row_bytes();
    if (sensor.count == 0) {
        fprintf(stderr, "error: %s holds no row of %u channels\n", sensor.file, sensor.told.channels);
        exit(1);
    }
    sensor.rows = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (sensor.rows == MAP_FAILED)
        fail(sensor.file);
    close(file);
}

static void take_state(char **values)
{
    board.line = atoi(values[0]);
    board.keep = atoi(values[1]);
    uint8_t *bytes = (uint8_t *)&board.retained;
    for (size_t i = 0; i < sizeof board.retained && values[2][2 * i]; i++) {
        const char two[3] = {values[2][2 * i], values[2][2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    board.cause = (uint8_t)atoi(values[3]);
}

static uint32_t size_argument(const char *text, uint32_t unit)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 0);
    if (*end || value < unit || value % unit || value > 1ul << 30) {
        fprintf(stderr, "error: '%s' is no multiple of %u up to 1 GiB\n", text, unit);
        exit(2);
    }
    return (uint32_t)value;
}

static double number_argument(const char *text, double least, double most)
{
    char *end;
    const double value = strtod(text, &end);
    if (*end || !(value >= least && value <= most)) {
        fprintf(stderr, "error: '%s' is no number from %g to %g\n", text, least, most);
        exit(2);
    }
    return value;
}

static void read_arguments(int argc, char **argv)
{
    board.argv = argv;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], AGAIN) && i + 4 < argc) {
            take_state(argv + i + 1);
            i += 4;
        } else if (!strcmp(argv[i], "--arena") && i + 1 < argc) {
            board.info.arena_bytes = size_argument(argv[++i], 16);
        } else if (!strcmp(argv[i], "--slot") && i + 1 < argc) {
            board.info.slot_bytes = size_argument(argv[++i], ERASE_UNIT);
        } else if (!strcmp(argv[i], "--sensor") && i + 1 < argc) {
            sensor.file = argv[++i];
        } else if (!strcmp(argv[i], "--channels") && i + 1 < argc) {
            sensor.told.channels = (uint8_t)number_argument(argv[++i], 1, 64);
        } else if (!strcmp(argv[i], "--rate") && i + 1 < argc) {
            sensor.told.rate_mhz = (uint32_t)(1000 * number_argument(argv[++i], 0.001, 1e6) + 0.5);
        } else if (!strcmp(argv[i], "--format") && i + 1 < argc && !strcmp(argv[i + 1], "int16")) {
            sensor.told.format = EDGE_INT16;
            i++;
        } else if (!strcmp(argv[i], "--format") && i + 1 < argc && !strcmp(argv[i + 1], "float32")) {
            i++;
        } else if (!strcmp(argv[i], "--once")) {
            sensor.once = true;
        } else if (argv[i][0] != '-' && !board.flash_file) {
            board.flash_file = argv[i];
        } else {
            board.flash_file = NULL;
            break;
        }
    }
    if (!board.flash_file || board.info.slot_bytes < 2 * ERASE_UNIT || !sensor.file != !sensor.told.channels) {
        fprintf(stderr,
                "usage: %s FLASH_FILE [--arena BYTES] [--slot BYTES]\n"
                "       [--sensor FILE --channels N [--format int16|float32] [--rate HZ] [--once]]\n",
                argv[0]);
        exit(2);
    }
}

/* Runs before main, which the firmware shares with boards that have no arguments. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
    read_arguments(argc, argv);
    catch_signals();
    open_flash();
    if (sensor.file)
        open_sensor();
    if (!board.line)
        open_line();
    board.info.arena = aligned_alloc(16, board.info.arena_bytes);
    if (!board.info.arena)
        fail("no memory for the arena");
}

void edge_port_init(void) { edge_port_watchdog(); }

const edge_port_info *edge_port_describe(void) { return &board.info; }

static bool ready(short events, int wait_ms)
{
    struct pollfd line = {.fd = board.line, .events = events};
    return poll(&line, 1, wait_ms) > 0 && (line.revents & events);
}

uint32_t edge_port_read(uint8_t *data, uint32_t capacity)
{
    const ssize_t count = ready(POLLIN, 0) ? read(board.line, data, capacity) : 0;
    return count > 0 ? (uint32_t)count : 0;
}

void edge_port_write(const uint8_t *data, uint32_t length)
{
    while (length && ready(POLLOUT, WRITE_PATIENCE_MS)) {
        const ssize_t count = write(board.line, data, length < 512 ? length : 512);
        if (count <= 0)
            return;
        data += count;
        length -= (uint32_t)count;
    }
}

uint64_t edge_port_ticks(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const edge_sensor *edge_port_sensor(void) { return sensor.file ? &sensor.told : NULL; }

void edge_port_sense(bool on)
{
    sensor.on = on;
    sensor.taken = 0;
    sensor.began = edge_port_ticks();
}

/* Rows that have been measured by now. */
static uint64_t measured(void)
{
    uint64_t count = UINT64_MAX;
    if (sensor.told.rate_mhz)
        count = (uint64_t)((double)(edge_port_ticks() - sensor.began) * 1e-12 * sensor.told.rate_mhz);
    return sensor.once && count > sensor.count ? sensor.count : count;
}

uint32_t edge_port_sample(uint8_t *rows, uint32_t capacity, uint32_t *missed)
{
    const uint32_t row = sensor_row_bytes();
    const uint64_t ring = (uint64_t)sensor.told.rate_mhz * SENSOR_RING_MS / 1000000u + 1, all = measured();
    *missed = sensor.told.rate_mhz && all - sensor.taken > ring ? (uint32_t)(all - sensor.taken - ring) : 0;
    sensor.taken += *missed;
    uint32_t count = 0;
    for (; count < capacity && sensor.taken < all; count++, sensor.taken++)
        memcpy(rows + count * row, sensor.rows + sensor.taken % sensor.count * row, row);
    return count;
}

/* Until the next row is measured; -1 where none will be. */
static int until_row_ms(void)
{
    if (!sensor.on || (sensor.once && sensor.taken >= sensor.count))
        return -1;
    return sensor.told.rate_mhz ? (int)(1000000u / sensor.told.rate_mhz) + 1 : 0;
}

uint32_t edge_port_instructions(uint64_t ticks)
{
    (void)ticks;
    return 0;
}

static bool in_slot(uint32_t slot, uint32_t offset, uint32_t length)
{
    return slot < EDGE_SLOTS && offset <= board.info.slot_bytes && length <= board.info.slot_bytes - offset;
}

const uint8_t *edge_port_slot(uint32_t slot) { return board.flash + (size_t)slot * board.info.slot_bytes; }

bool edge_port_erase(uint32_t slot, uint32_t offset, uint32_t length)
{
    if (!in_slot(slot, offset, length) || offset % ERASE_UNIT || length % ERASE_UNIT)
        return false;
    memset(board.flash + (size_t)slot * board.info.slot_bytes + offset, 0xFF, length);
    return true;
}

/* As flash does it: programming clears bits, and fails where one would have to be set. */
bool edge_port_program(uint32_t slot, uint32_t offset, const uint8_t *data, uint32_t length)
{
    if (!in_slot(slot, offset, length))
        return false;
    uint8_t *to = board.flash + (size_t)slot * board.info.slot_bytes + offset;
    bool done = true;
    for (uint32_t i = 0; i < length; i++) {
        to[i] &= data[i];
        done = done && to[i] == data[i];
    }
    return done;
}

edge_retained *edge_port_retained(void) { return &board.retained; }

uint8_t edge_port_reset_cause(void) { return board.cause; }

uint32_t edge_port_stack_used(void) { return 0; }

void edge_port_watchdog(void) { alarm(WATCHDOG_SECONDS); }

/* Asleep nothing can hang: the watchdog pauses. */
void edge_port_idle(bool soon)
{
    const int wait_ms = until_row_ms();
    alarm(0);
    ready(POLLIN, soon && (wait_ms < 0 || wait_ms > 100) ? 100 : wait_ms);
    edge_port_watchdog();
}

void edge_port_restart(void) { start_again(1); }
