/* A plugin for qemu's user-mode emulation: counts the guest's executed instructions, those of them that use vector
 * registers, and system calls, by function, into a file that others read while it runs (ROWS rows of `struct row`).
 * `qemu-aarch64 -d plugin -D /dev/null -plugin count.so,out=FILE PROGRAM`; the log has to be on, since qemu reads the
 * program's symbols for nothing else. Row 0 is for system calls, row 1 for code without a symbol (shared libraries). Where the
 * rows are used up, the rest goes to row 1.
 *
 * The plugin interface is declared here as far as it is used, since Debian has no package of its header; these parts are the same in
 * versions 1 (qemu 7 and 8) and 2 (qemu 9 and newer, which still take it). Counted is a block when it is entered: one that an
 * exception leaves early counts whole. */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define ROWS 16384
#define NAME 112

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
typedef void (*translated_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_cb)(unsigned int, void *);
typedef void (*syscall_cb)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t);
enum { NO_REGISTERS = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_cb, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);

#ifndef INTERFACE
#define INTERFACE 1
#endif
EXPORT int qemu_plugin_version = INTERFACE;

struct row {
    uint64_t instructions, vector;
    char name[NAME];
};
struct block {
    struct row *row;
    uint64_t instructions, vector;
};

static struct row *rows;
static unsigned used = 2;
static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER;

static struct row *row_of(const char *name) {
    if (!name || !*name)
        return &rows[1];
    for (unsigned at = 2; at < used; at++)
        if (!strncmp(rows[at].name, name, NAME - 1))
            return &rows[at];
    if (used == ROWS)
        return &rows[1];
    strncpy(rows[used].name, name, NAME - 1);
    return &rows[used++];
}

/* Arm's manual, C4.1: bits 28..25 are x111 for scalar floating point and vectors; loads and stores (x1x0) say so in bit 26 */
static bool is_vector(const struct qemu_plugin_insn *insn) {
    const void *at = qemu_plugin_insn_haddr(insn);
    uint32_t word;
    if (!at)
        return false;
    memcpy(&word, at, sizeof word);
    unsigned group = word >> 25 & 15;
    return (group & 7) == 7 || ((group & 5) == 4 && (word >> 26 & 1));
}

static void executed(unsigned int cpu, void *data) {
    const struct block *block = data;
    (void)cpu;
    __atomic_fetch_add(&block->row->instructions, block->instructions, __ATOMIC_RELAXED);
    if (block->vector)
        __atomic_fetch_add(&block->row->vector, block->vector, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    size_t count = qemu_plugin_tb_n_insns(tb);
    struct block *block = calloc(1, sizeof *block); /* lives as long as the translated code may */
    (void)id;
    if (!block || !count)
        return;
    block->instructions = count;
    for (size_t at = 0; at < count; at++)
        block->vector += is_vector(qemu_plugin_tb_get_insn(tb, at));
    pthread_mutex_lock(&naming);
    block->row = row_of(qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0)));
    pthread_mutex_unlock(&naming);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGISTERS, block);
}

static void called(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)number, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    __atomic_fetch_add(&rows[0].instructions, 1, __ATOMIC_RELAXED);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4))
        return 1;
    int fd = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || ftruncate(fd, ROWS * sizeof(struct row)))
        return 1;
    rows = mmap(NULL, ROWS * sizeof(struct row), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (rows == MAP_FAILED)
        return 1;
    strcpy(rows[0].name, "system calls");
    strcpy(rows[1].name, "shared libraries");
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
