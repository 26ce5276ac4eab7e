/* Processes as k3s leaves them, which do nothing: shim, its pod, and what a pod's program leaves behind
 *
 * Called with "shim" in its name, it adopts orphans as containerd's shim does, and starts POD_PROGRAM twice in the network
 * POD_NETWORK, as "pause" and as "app". As "app" it starts a child and an orphan, which the shim inherits. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void start(const char *program, const char *name)
{
    if (!fork()) {
        execl(program, name, (char *)NULL);
        _exit(1);
    }
}

static void ignore(int number)
{
    (void)number;
}

int main(int count, char **words)
{
    const char *program = getenv("POD_PROGRAM"), *network = getenv("POD_NETWORK");
    sigset_t child, none;

    (void)count;
    sigemptyset(&none);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &child, NULL) || signal(SIGCHLD, ignore) == SIG_ERR)
        return 1;
    if (strstr(words[0], "shim") && program && network) {
        if (prctl(PR_SET_CHILD_SUBREAPER, 1))
            return 1;
        if (!fork()) {
            int pod = open(network, O_RDONLY | O_CLOEXEC);

            if (pod < 0 || setns(pod, CLONE_NEWNET))
                _exit(1);
            start(program, "app");
            execl(program, "pause", (char *)NULL);
            _exit(1);
        }
    } else if (!strcmp(words[0], "app")) {
        start(program, "worker");
        if (!fork()) {
            start(program, "orphan");
            _exit(0);
        }
    }
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        sigsuspend(&none);
    }
}
