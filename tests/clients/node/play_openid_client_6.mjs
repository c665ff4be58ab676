// openid-client 6, by discovery.
import * as oidc from "openid-client-6";
import { play, wish } from "./play.mjs";

const config = await oidc.discovery(
  new URL(wish.issuer),
  wish.client_id,
  undefined,
  wish.client_secret ? oidc.ClientSecretPost(wish.client_secret) : oidc.None(),
);
let tokens;

await play({
  async link(show) {
    const pair = await oidc.initiateDeviceAuthorization(config, { scope: wish.scope });
    show(pair.user_code);
    tokens = await oidc.pollDeviceAuthorizationGrant(config, pair);
  },
  async refresh() {
    const newer = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    tokens = { ...tokens, ...newer };
  },
  async revoke() {
    await oidc.tokenRevocation(config, tokens.refresh_token, { token_type_hint: "refresh_token" });
  },
});
