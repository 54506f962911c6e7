/* microhttpd: serves the files of one directory, one request at a time.
 *
 * Usage: microhttpd CONFIG. The configuration has lines `port NUMBER` and `root DIRECTORY`.
 * Ends with status 0 on TERM. */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int port = 8080;
static char root[1024] = ".";

static void stop(int number)
{
    (void)number;
    _exit(0);
}

static void read_config(const char *path)
{
    char line[2048];
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        fprintf(stderr, "microhttpd: %s: %s\n", path, strerror(errno));
        exit(78);
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "port %d", &port) == 1)
            continue;
        sscanf(line, "root %1023s", root);
    }
    fclose(file);
}

static void send_all(int client, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(client, data, size);
        if (sent <= 0)
            return;
        data += sent;
        size -= (size_t)sent;
    }
}

static void answer(int client)
{
    char request[4096], path[4096], target[2048], head[256], block[8192];
    struct stat info;
    ssize_t size = read(client, request, sizeof request - 1);
    int file;

    if (size <= 0)
        return;
    request[size] = '\0';
    if (sscanf(request, "GET %2047s", target) != 1 || strstr(target, "..") != NULL) {
        send_all(client, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 47);
        return;
    }
    snprintf(path, sizeof path, "%s%s%s", root, target, target[strlen(target) - 1] == '/' ? "index.html" : "");
    file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info) < 0 || !S_ISREG(info.st_mode)) {
        send_all(client, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 45);
        if (file >= 0)
            close(file);
        return;
    }
    size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\nConnection: close\r\n\r\n",
                    (long long)info.st_size);
    send_all(client, head, (size_t)size);
    while ((size = read(file, block, sizeof block)) > 0)
        send_all(client, block, (size_t)size);
    close(file);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int server, client, yes = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: microhttpd CONFIG\n");
        return 64;
    }
    read_config(argv[1]);
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    address.sin_port = htons((unsigned short)port);
    if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 16) < 0) {
        fprintf(stderr, "microhttpd: port %d: %s\n", port, strerror(errno));
        return 71;
    }
    while ((client = accept(server, NULL, NULL)) >= 0) {
        answer(client);
        close(client);
    }
    return 71;
}
