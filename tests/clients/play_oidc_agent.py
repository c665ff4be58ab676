"""oidc-agent 4 of Debian, by its own commands: ``oidc-gen --flow=device``, ``oidc-token``, ``oidc-gen --delete``."""

import os
import re
import subprocess

from tests.clients.play import Player, Refused, Show, Wish, play

NAME = "speaker"


class OidcAgent(Player):
    """An agent of its own, with its own folder."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.environment = {
            "HOME": str(wish.folder),
            "OIDC_CONFIG_DIR": str(wish.folder / "oidc"),
            "OIDC_ENCRYPTION_PW": "canary",
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        (wish.folder / "oidc").mkdir(mode=0o700)
        told = self.run("oidc-agent")
        self.environment |= dict(re.findall(r"(OIDC_SOCK|OIDCD_PID)=([^;]+);", told))

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise Refused(" ".join((done.stderr or done.stdout).split())[:160])
        return done.stdout

    def link(self, show: Show) -> None:
        words = (
            *("oidc-gen", NAME, "--manual", "--flow=device", "--prompt=none", "--confirm-default"),
            *("--pw-env", "--client-id", self.wish.client_id, "--issuer", self.wish.issuer),
            *("--scope", self.wish.scope, "--redirect-uri", "http://localhost:4242"),
            *("--cert-path", self.wish.ca_file),
            f"--client-secret={self.wish.client_secret or ''}",
        )
        with subprocess.Popen(
            words,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        ) as running:
            said = []
            for line in running.stdout or ():
                said.append(line.strip())
                found = re.search(r"enter the code: *(\S+)|code: *([A-Z]{4}-[A-Z]{4})", line)
                if found:
                    show(found[1] or found[2])
        if running.returncode:
            raise Refused(" / ".join(said[-4:])[:200])

    def refresh(self) -> None:
        # longer than any token lives: the agent must refresh
        self.run("oidc-token", "--time", "100000", NAME)

    def revoke(self) -> None:
        self.run("oidc-gen", "--delete", "--pw-env", "--confirm-yes", NAME)

    def close(self) -> None:
        self.run("oidc-agent", "--kill")


if __name__ == "__main__":
    play(OidcAgent)
