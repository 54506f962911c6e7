"""Small static programs for steps of images that hold nothing but busybox."""

import functools
import hashlib
import subprocess

from support.places import cache_directory, locked

# Tries to read everything that one process may know of another, and prints from whom it learned something.
THIEF = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int looked = 0;
    for (int pid = 1; pid < 5000; pid++) {
        char path[64], data[64];
        if (pid == getpid() || pid == getppid()) continue;
        const char *names[] = {"environ", "mem", "maps", "auxv"};
        for (int i = 0; i < 4; i++) {
            snprintf(path, sizeof path, "/proc/%d/%s", pid, names[i]);
            int fd = open(path, O_RDONLY);
            if (fd < 0) continue;
            if (read(fd, data, sizeof data) > 0) printf("STOLEN %s\n", path);
            close(fd);
        }
        const char *links[] = {"root", "cwd", "exe", "fd/3", "fd/4", "fd/5"};
        for (int i = 0; i < 6; i++) {
            snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
            if (readlink(path, data, sizeof data) > 0) printf("STOLEN %s\n", path);
        }
        struct iovec here = {data, 8}, there = {(void *)0x400000, 8};
        errno = 0;
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) > 0 || errno == EFAULT) printf("STOLEN vm %d\n", pid);
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) printf("STOLEN ptrace %d\n", pid);
        looked++;
    }
    printf("looked at %d\n", looked);
    return 0;
}
"""

# Asks the agent at $SSH_AUTH_SOCK for its keys and prints the kind of the answer (draft-miller-ssh-agent).
CALLER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un address = {AF_UNIX};
    char answer[64];
    strncpy(address.sun_path, getenv("SSH_AUTH_SOCK"), sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (void *)&address, sizeof address)) { perror("connect"); return 1; }
    write(fd, "\0\0\0\1\x0b", 5);
    long got = read(fd, answer, sizeof answer);
    printf("the agent says %d\n", got < 5 ? -1 : answer[4]);
    return 0;
}
"""

# Prints whether the internet protocols are available.
DIALER = r"""
#include <stdio.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
int main(void) {
    struct sockaddr_in address = {AF_INET, htons(9), {inet_addr("10.255.255.1")}};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (void *)&address, sizeof address)) { puts("no way out"); return 0; }
    puts("there is a way out");
    return 0;
}
"""

# What one process may do to another, and which sockets it may open; a line for each attempt, with its errno.
NEIGHBOUR = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static int here = 42;
static void tell(const char *what, long result) { printf("%s %d\n", what, result < 0 ? errno : 0); fflush(stdout); }
static struct sockaddr_un address = {AF_UNIX};
static socklen_t named(const char *name) {
    memset(address.sun_path, 0, sizeof address.sun_path);
    strcpy(address.sun_path + 1, name);
    return sizeof(sa_family_t) + 1 + strlen(name);
}
static long dial(const char *name, int type) {
    int fd = socket(AF_UNIX, type, 0);
    socklen_t length = named(name);
    long result = type == SOCK_DGRAM ? sendto(fd, "x", 1, 0, (void *)&address, length)
                                     : connect(fd, (void *)&address, length);
    int met = errno;
    close(fd);
    errno = met;
    return result;
}
static long peek(int pid) {
    int data;
    struct iovec to = {&data, sizeof data}, from = {&here, sizeof here};
    return process_vm_readv(pid, &to, 1, &from, 1, 0);
}
int main(int count, char **argv) {
    if (count > 2) {
        tell("their abstract socket", dial(argv[1], SOCK_STREAM));
        tell("their abstract datagrams", dial(argv[2], SOCK_DGRAM));
    }
    for (int at = 3; at < count; at++) {
        int pid = atoi(argv[at]);
        tell("trace them", ptrace(PTRACE_SEIZE, pid, 0, 0));
        tell("read them", peek(pid));
        tell("signal them", kill(pid, SIGTERM));
        struct rlimit limit = {1000, 1000};
        tell("limit them", prlimit(pid, RLIMIT_NOFILE, &limit, 0));
    }
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    // A name of its own: the names of all tests that run now are in one network namespace.
    struct timespec now;
    char own[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(own, sizeof own, "neighbour-%d-%ld", getpid(), now.tv_nsec);
    socklen_t length = named(own);
    bind(fd, (void *)&address, length);
    listen(fd, 1);
    int child = fork();
    if (!child) {
        tell("own abstract socket", dial(own, SOCK_STREAM));
        pause();
    }
    usleep(100000);
    tell("trace own", ptrace(PTRACE_SEIZE, child, 0, 0));
    tell("read own", peek(child));
    tell("signal own", kill(child, SIGKILL));
    waitpid(child, 0, __WALL);
    struct rlimit none = {0, 0};
    tell("limit own", setrlimit(RLIMIT_CORE, &none));
    tell("packets", socket(17, SOCK_RAW, 0x300));
    tell("raw tcp", socket(AF_INET, SOCK_RAW, 6));
    tell("raw icmp", socket(AF_INET, SOCK_RAW, 1));
    tell("vsock", socket(40, SOCK_STREAM, 0));
    tell("internet", socket(AF_INET, SOCK_STREAM, 0));
    char parameters[120] = {0};
    tell("uring", syscall(425, 1, parameters));
    return 0;
}
"""

# Makes sockets as a 32-bit program of an older C library does, by socketcall(2); x86-64 only.
OLD_SOCKETS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
static unsigned *low;
static long made(unsigned family, unsigned type, unsigned protocol) {
    long result;
    low[0] = family; low[1] = type; low[2] = protocol;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(102), "b"(1), "c"(low), "d"(0) : "memory");
    return (int)result;
}
static void tell(const char *what, long fd) { printf("%s %ld\n", what, fd < 0 ? -fd : 0); fflush(stdout); }
int main(void) {
    low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    tell("packets", made(17, SOCK_RAW, 0x300));
    tell("packets by the old name", made(AF_INET, 10, 0x300));
    tell("raw tcp", made(AF_INET, SOCK_RAW, 6));
    tell("vsock", made(40, SOCK_STREAM, 0));
    tell("crypto", made(38, 5, 0));
    long fd = made(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tell("internet", fd);
    int type = 0;
    socklen_t length = sizeof type;
    tell("stream", getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) || type != SOCK_STREAM ? -1 : 0);
    tell("closed by exec", fcntl(fd, F_GETFD) == FD_CLOEXEC ? 0 : -1);
    long other = made(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    tell("kept by exec", fcntl(other, F_GETFD) == 0 && (fcntl(other, F_GETFL) & O_NONBLOCK) ? 0 : -1);
    tell("unix", made(AF_UNIX, SOCK_STREAM, 0));
    tell("netlink", made(16, SOCK_RAW, 0));
    munmap(low, 4096);
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(102), "b"(1), "c"(8), "d"(0) : "memory");
    tell("bad address", (int)result);
    return 0;
}
"""

# Prints as which user it really acts, for setuid programs.
ACTOR = r"""
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("acts as %d\n", geteuid()); return 0; }
"""


@functools.cache
def compiled(source: str) -> bytes:
    """Return a static program."""
    place = cache_directory() / "programs" / hashlib.sha256(source.encode()).hexdigest()[:16]
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            command = ["gcc", "-static", "-O", "-w", "-x", "c", "-", "-o", str(place)]
            subprocess.run(command, input=source.encode(), check=True)
    return place.read_bytes()

# The beginning of programs that pass descriptors to each other over a socket.
_PASSING = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
static char space[CMSG_SPACE(sizeof(int))], byte = 'x';
static struct iovec part = {&byte, 1};
int main(int count, char **arg) {
    struct sockaddr_un address = {AF_UNIX};
    struct msghdr message = {0, 0, &part, 1, space, sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    struct stat found;
"""

# Two steps that run at once: `give` passes its root to any client, `take` walks up from there and looks for a
# directory that only the machine has.
PASSER = _PASSING + r"""
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), giving = !strcmp(arg[1], "give");
    strcpy(address.sun_path + 1, arg[2]);
    if (giving) {
        if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1)) { puts("nobody can call"); return 0; }
        struct pollfd one = {fd, POLLIN};
        if (poll(&one, 1, 4000) <= 0) { puts("nobody called"); return 0; }
        int peer = accept(fd, 0, 0), root = open("/", O_RDONLY);
        head->cmsg_level = SOL_SOCKET; head->cmsg_type = SCM_RIGHTS; head->cmsg_len = CMSG_LEN(sizeof root);
        memcpy(CMSG_DATA(head), &root, sizeof root);
        sendmsg(peer, &message, 0);
        sleep(1);
        return 0;
    }
    for (int tries = 0; connect(fd, (void *)&address, sizeof address); tries++) {
        if (tries == 30) { puts("nobody answered"); return 0; }
        usleep(100000);
    }
    if (recvmsg(fd, &message, 0) <= 0 || !(head = CMSG_FIRSTHDR(&message))) { puts("nothing came"); return 0; }
    memcpy(&fd, CMSG_DATA(head), sizeof fd);
    fchdir(fd);
    for (int up = 0; up < 40; up++) chdir("..");
    puts(stat(arg[3], &found) ? "went nowhere" : "ESCAPED");
    return 0;
}
"""

# Two steps that run at once and share a directory with a socket: `give` passes one of its directories or files to
# `take`, which writes to it until that is refused, for five seconds at most (files: two).
KEEPER = _PASSING + r"""
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), given;
    strcpy(address.sun_path, arg[2]);
    if (!strcmp(arg[1], "give")) {
        for (int tries = 0; connect(fd, (void *)&address, sizeof address); tries++) {
            if (tries == 200) { puts("nobody answered"); return 1; }
            usleep(50000);
        }
        given = open(arg[3], O_DIRECTORY);
        if (given < 0) given = open(arg[3], O_RDWR | O_APPEND);
        head->cmsg_level = SOL_SOCKET; head->cmsg_type = SCM_RIGHTS; head->cmsg_len = CMSG_LEN(sizeof given);
        memcpy(CMSG_DATA(head), &given, sizeof given);
        sendmsg(fd, &message, 0);
        return read(fd, &byte, 1) != 1;
    }
    unlink(arg[2]);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1)) { perror("listen"); return 1; }
    int peer = accept(fd, 0, 0);
    if (recvmsg(peer, &message, 0) <= 0) { perror("receive"); return 1; }
    memcpy(&given, CMSG_DATA(head), sizeof given);
    fstat(given, &found);
    write(peer, "y", 1);
    int folder = S_ISDIR(found.st_mode);
    for (int tries = 0; tries < (folder ? 100 : 40); tries++) {
        if (folder ? mkdirat(given, "late", 0755) || unlinkat(given, "late", AT_REMOVEDIR) : write(given, "late\n", 5) < 0) {
            puts(errno == EROFS ? "shut out" : strerror(errno));
            return 0;
        }
        usleep(50000);
    }
    puts("still there");
    return 0;
}
"""

# Leaves N chains of processes: each process forks and ends, over and over. They stop after so many seconds.
HOPPER = r"""
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **arg) {
    time_t end = time(0) + atoi(arg[2]);
    for (int each = 0; each < atoi(arg[1]); each++) {
        if (fork()) continue;
        setsid();
        for (int fd = 0; fd < 3; fd++) close(fd);
        while (time(0) < end) if (fork() > 0) _exit(0);
        _exit(0);
    }
    return 0;
}
"""
