// openid-client 5, by discovery.
import { Issuer } from "openid-client-5";
import { play, wish } from "./play.mjs";

const issuer = await Issuer.discover(wish.issuer);
const client = new issuer.Client({
  client_id: wish.client_id,
  ...(wish.client_secret
    ? { client_secret: wish.client_secret, token_endpoint_auth_method: "client_secret_basic" }
    : { token_endpoint_auth_method: "none" }),
});
let tokens;

await play({
  async link(show) {
    const handle = await client.deviceAuthorization({ scope: wish.scope });
    show(handle.user_code);
    tokens = await handle.poll();
  },
  async refresh() {
    const newer = await client.refresh(tokens.refresh_token);
    tokens = { ...tokens, ...newer };
  },
  async revoke() {
    await client.revoke(tokens.refresh_token, "refresh_token");
  },
});
