/* storefrontd: serves the shop's files, and its commit at /commit.
 *
 * Usage: storefrontd --port NUMBER --root DIRECTORY */

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stop(int number)
{
    (void)number;
    _exit(0);
}

static void reply(int client, const char *status, const char *body, size_t size)
{
    dprintf(client, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, size);
    if (size > 0 && write(client, body, size) < 0)
        perror("storefrontd: write");
}

static void answer(int client, const char *root)
{
    static char body[1 << 20];
    char request[4096], target[2048], path[4096];
    ssize_t size = read(client, request, sizeof request - 1);
    const char *commit = getenv("COMMIT");
    int file;

    if (size <= 0)
        return;
    request[size] = '\0';
    if (sscanf(request, "GET %2047s", target) != 1 || strstr(target, "..") != NULL) {
        reply(client, "400 Bad Request", "", 0);
        return;
    }
    if (strcmp(target, "/commit") == 0) {
        size = snprintf(body, sizeof body, "%s\n", commit != NULL && *commit != '\0' ? commit : "unknown");
        reply(client, "200 OK", body, (size_t)size);
        return;
    }
    snprintf(path, sizeof path, "%s%s%s", root, target, strcmp(target, "/") == 0 ? "index.html" : "");
    file = open(path, O_RDONLY);
    size = file < 0 ? -1 : read(file, body, sizeof body);
    if (file >= 0)
        close(file);
    if (size < 0)
        reply(client, "404 Not Found", "", 0);
    else
        reply(client, "200 OK", body, (size_t)size);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *root = ".";
    int port = 3000, server, client, yes = 1;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--version") == 0) {
            puts("storefrontd 1.0");
            return 0;
        }
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc)
            port = atoi(argv[++i]);
        else if (strcmp(argv[i], "--root") == 0 && i + 1 < argc)
            root = argv[++i];
    }
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    address.sin_port = htons((unsigned short)port);
    if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 16) < 0) {
        perror("storefrontd");
        return 71;
    }
    while ((client = accept(server, NULL, NULL)) >= 0) {
        answer(client, root);
        close(client);
    }
    return 71;
}
