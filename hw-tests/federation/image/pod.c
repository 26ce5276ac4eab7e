/* Everything that runs in the rig's containers: pod [SECONDS], or pod say WORD
 *
 * The first form says that it started, sleeps, reaps what it inherits, and ends SECONDS after SIGTERM (0 unless given). As
 * a sandbox it is the first process of a pod, as a workload it is one that wants time to end in order. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t asked;

static void on_signal(int number)
{
    if (number == SIGTERM || number == SIGINT)
        asked = 1;
}

int main(int count, char **words)
{
    if (count > 2 && !strcmp(words[1], "say"))
        return puts(words[2]) < 0;

    struct sigaction action = { .sa_handler = on_signal };
    sigset_t handled, before;

    sigemptyset(&handled);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGCHLD);
    /* Blocked but for sigsuspend, so that none comes between a look and the sleep. */
    if (sigprocmask(SIG_BLOCK, &handled, &before) || sigaction(SIGTERM, &action, NULL)
        || sigaction(SIGINT, &action, NULL) || sigaction(SIGCHLD, &action, NULL))
        return 1;
    puts("started");
    fflush(stdout);
    while (!asked) {
        sigsuspend(&before);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    puts("ending");
    fflush(stdout);
    if (count > 1)
        sleep((unsigned)atoi(words[1]));
    return 0;
}
