/* /kaniko/executor, /kaniko/warmer, /kaniko/firkin: starts the runtime below /kaniko/rt. No libc, no shell, no
 * environment of Python's: whatever lies in the rest of the root does not matter.
 *
 *     NAME ARGS...  becomes  /kaniko/rt/bin/python3 -I -S -X utf8 /kaniko/rt/main.py NAME ARGS...
 */
#include <sys/syscall.h>

#define RUNTIME "/kaniko/rt"
enum { MAX_WORDS = 65536 };

static long call(long number, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
#error "add the system call of this architecture"
#endif
}

static char *words[MAX_WORDS];

__attribute__((noreturn, used)) void begin(long *stack) {
    static char *const start[] = {RUNTIME "/bin/python3", "-I", "-S", "-X", "utf8", RUNTIME "/main.py"};
    enum { START = sizeof start / sizeof *start };
    static const char failed[] = "error: cannot start " RUNTIME "/bin/python3\n";
    long count = stack[0];
    char **argv = (char **)(stack + 1), **environ = argv + count + 1;
    if (count >= 1 && count + START < MAX_WORDS) {
        for (long i = 0; i < START; i++) words[i] = start[i];
        for (long i = 0; i < count; i++) words[START + i] = argv[i];
        call(SYS_execve, (long)start[0], (long)words, (long)environ);
    }
    call(SYS_write, 2, (long)failed, sizeof failed - 1);
    for (;;) call(SYS_exit_group, 1, 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall begin\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tb begin\n");
#endif
