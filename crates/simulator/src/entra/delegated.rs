//! The grants in a person's name: the code that the sign-in page gave, and the refresh token.
//!
//! Must not show pages.

use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    authorize::Realm,
    client,
    directory::Standing,
    problem::EntraProblem,
    scopes::Scopes,
    sessions::{Permit, Redemption},
    token::{Form, OnBehalf, access_token, failed, is_graph},
};
use crate::{config::User, world::World};

/// `grant_type=authorization_code`
pub(crate) fn authorization_code(world: &World, tenant: &str, form: &Form) -> Result<Value, EntraProblem> {
    let realm = Realm::of(world, tenant)?;
    let (app, registration) = client::named(world, form, tenant)?;
    let shown = Redemption {
        code: form.required("code")?,
        redirect_uri: form.required("redirect_uri")?,
        verifier: form.required("code_verifier")?,
        app,
    };
    let proof = client::prove(world, form, tenant, (app, &registration))?;
    let permit = world.sessions.redeem(&shown, world.clock.now())?;
    let scopes = narrowed(world, form, &permit)?;
    let user = able(world, &permit, &realm)?;
    answer(world, Grant { permit, scopes, user, proof })
}

/// `grant_type=refresh_token`
pub(crate) fn refresh_token(world: &World, tenant: &str, form: &Form) -> Result<Value, EntraProblem> {
    let realm = Realm::of(world, tenant)?;
    let (app, registration) = client::named(world, form, tenant)?;
    let token = form.required("refresh_token")?;
    let proof = client::prove(world, form, tenant, (app, &registration))?;
    let now = world.clock.now();
    let permit = world.sessions.look_up(token, app, &world.behaviour(), now)?;
    let scopes = narrowed(world, form, &permit)?;
    let user = able(world, &permit, &realm)?;
    // Only what is granted replaces the old one: a refused call leaves it as it was.
    let answer = answer(world, Grant { permit, scopes, user, proof })?;
    world.sessions.replace(token, now);
    Ok(answer)
}

struct Grant {
    permit: Permit,
    scopes: Scopes,
    user: User,
    proof: client::Proof,
}

/// The scopes that are asked for now: those of the permit, or fewer.
fn narrowed(world: &World, form: &Form, permit: &Permit) -> Result<Scopes, EntraProblem> {
    let Some(text) = form.get("scope") else { return Ok(permit.scopes.clone()) };
    let scopes = Scopes::parse(text, |resource| is_graph(world, resource));
    let scopes = scopes.ok_or_else(|| EntraProblem::wrong_scope(text))?;
    if scopes.are_within(&permit.scopes) {
        return Ok(scopes);
    }
    let text = "The user or administrator has not consented to use the application with these permissions. Send an \
                interactive authorization request for this user and resource.";
    Err(EntraProblem::invalid_grant(65_001, text))
}

/// The person, if they may still sign in here with this application.
fn able(world: &World, permit: &Permit, realm: &Realm) -> Result<User, EntraProblem> {
    if matches!(realm, Realm::One(tenant) if *tenant != permit.tenant) {
        let text = "The grant was issued in another tenant.";
        return Err(EntraProblem::invalid_grant(700_005, text));
    }
    if world.directory.standing(permit.app, permit.tenant, world.clock.now()) == Standing::Disabled {
        return Err(EntraProblem::app_disabled(permit.app));
    }
    match world.directory.user(permit.user) {
        Some((user, true)) => Ok(user),
        Some((_, false)) => Err(EntraProblem::invalid_grant(50_057, "The user account is disabled.")),
        None => Err(EntraProblem::invalid_grant(50_034, "The user account does not exist in the directory.")),
    }
}

fn answer(world: &World, grant: Grant) -> Result<Value, EntraProblem> {
    let Grant { permit, scopes, user, proof } = grant;
    let lifetime = world.access_token_lifetime().as_secs();
    let told = scopes.told();
    let on_behalf = OnBehalf { user: user.id, scopes: told.clone() };
    let mut answer = json!({
        "token_type": "Bearer", "scope": told, "expires_in": lifetime, "ext_expires_in": lifetime,
        "access_token": access_token(world, permit.app, permit.tenant, proof, Some(on_behalf))?,
    });
    if scopes.has("openid") {
        answer["id_token"] = json!(id_token(world, &permit, &scopes, &user)?);
    }
    if permit.scopes.has("offline_access") {
        answer["refresh_token"] = json!(world.sessions.issue(permit, world.clock.now()));
    }
    Ok(answer)
}

fn id_token(world: &World, permit: &Permit, scopes: &Scopes, user: &User) -> Result<String, EntraProblem> {
    let now: chrono::DateTime<Utc> = world.clock.now();
    let now = now.timestamp();
    // The subject differs from application to application, but not from sign-in to sign-in.
    let subject = Uuid::from_u128(permit.user.as_u128() ^ permit.app.as_u128());
    let mut claims = json!({
        "aud": permit.app,
        "iss": world.urls.issuer_v2(permit.tenant),
        "iat": now,
        "nbf": now - 300,
        "exp": now + 3600,
        "sub": subject,
        "tid": permit.tenant,
        "uti": Uuid::new_v4().simple().to_string(),
        "ver": "2.0",
    });
    if let Some(nonce) = &permit.nonce {
        claims["nonce"] = json!(nonce);
    }
    if scopes.has("profile") {
        claims["oid"] = json!(user.id);
        claims["name"] = json!(user.display_name);
        claims["preferred_username"] = json!(user.user_name);
    }
    if scopes.has("email") {
        claims["email"] = json!(user.user_name);
    }
    world.keys.current().sign(&claims).map_err(failed)
}
