// The same commands and events as tests/clients/play.py.
import { createInterface } from "node:readline";

export class Refused extends Error {}

export const wish = JSON.parse(process.argv.at(-1));

const tell = (members) => console.log(JSON.stringify(members));

export async function play(player) {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      if (line === "link") {
        await player.link((code) => tell({ event: "code", code }));
        tell({ event: "linked" });
      } else if (line === "refresh") {
        await player.refresh();
        tell({ event: "refreshed" });
      } else if (line === "revoke") {
        await player.revoke();
        tell({ event: "revoked" });
      }
    } catch (error) {
      const cause = error.cause?.code ?? error.cause?.message ?? "";
      tell({ event: "refused", why: String(error.error ?? `${error.name}: ${error.message} ${cause}`).slice(0, 200) });
    }
  }
}
