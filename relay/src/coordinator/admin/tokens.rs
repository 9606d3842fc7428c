//! Tokens: made, listed, revoked.

use meshd_api::coordinator::admin::{Done, TokenCreate, TokenCreated, TokenInfo, TokenRevoke};
use meshd_core::admission::{BLOCKED_SECONDS, check_delegation};
use meshd_core::id::{NetworkId, NodeId, TokenId};
use meshd_core::keys::JoinSecret;
use meshd_core::map::Body;
use meshd_core::statement::{Deed, Delegation, Fixed, Limits, Signed, Terms};
use meshd_core::token::JoinToken;

use super::shown;
use crate::coordinator::effects::Block;
use crate::coordinator::load::random;
use crate::coordinator::network::{Network, Token};
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State, notice, unix_now};
use crate::store::rows::{self, BlockRow};
use crate::store::{Batch, Table};

impl State {
    /// Makes a token; the word is in the answer and nowhere else.
    pub fn create_token(
        &mut self,
        network: NetworkId,
        wanted: &TokenCreate,
    ) -> Result<TokenCreated, Refusal> {
        let terms = Terms {
            tags: wanted.tags.clone(),
            ephemeral: wanted.ephemeral,
            approval: wanted.approval,
            template: wanted.template,
        };
        let fixed = Fixed {
            host_name: wanted.hostname.clone(),
            ipv4: wanted.ip,
            listen_port: wanted.listen_port,
            replaces: None,
        };
        let not_after = wanted
            .expires_in
            .map(|seconds| unix_now().saturating_add(seconds));
        // what a token fixes can be one node's only
        let one = fixed.host_name.is_some() || fixed.ipv4.is_some();
        let limits = Limits {
            not_after,
            uses: wanted.uses.or(one.then_some(1)),
        };
        self.issue_token(network, Offer { terms, fixed, limits }, wanted.statement.as_ref())
    }

    /// Makes a token, or takes one that was made elsewhere.
    pub(super) fn issue_token(
        &mut self,
        id: NetworkId,
        offer: Offer,
        statement: Option<&meshd_api::Base64Bytes>,
    ) -> Result<TokenCreated, Refusal> {
        let (addresses, coordinator) = (self.addresses(), self.identity());
        let network = self.network(id)?;
        let (delegation, word) = match statement {
            Some(statement) => (network.by_root::<Delegation>(statement)?, None),
            None => {
                let (delegation, secret) = network.delegate(offer)?;
                let Delegation { token, .. } = *delegation.value();
                let root = network.params.value().root;
                let word = JoinToken {
                    id: token,
                    secret,
                    coordinator,
                    root,
                    addresses: addresses?,
                };
                let word = word
                    .encode()
                    .map_err(|error| Refusal::Invalid(error.to_string()))?;
                (delegation, Some(word.to_string()))
            }
        };
        network.check_new_token(delegation.value())?;
        let token = delegation.value().token;
        let created = TokenCreated {
            id: token.to_string(),
            token: word,
        };
        self.write(id, |network, batch| {
            network.map.put(Body::Delegation(delegation.clone()).into())?;
            network.last_serial = delegation.value().serial;
            network.tokens.insert(token, Token { delegation, used: 0 });
            network.save_token(token, batch);
            Ok((
                created,
                Effect::audited(network, &format!("token {token} created")),
            ))
        })
    }

    /// All tokens of a network.
    pub fn list_tokens(&mut self, network: NetworkId) -> Result<Vec<TokenInfo>, Refusal> {
        let network = self.network(network)?;
        Ok(network
            .tokens
            .keys()
            .filter_map(|id| network.token_info(*id))
            .collect())
    }

    /// Takes a token back, with the nodes that came by it or without.
    pub fn revoke_token(&mut self, network: NetworkId, id: &str, how: &TokenRevoke) -> Result<Done, Refusal> {
        let hint = "`meshctl token list` shows those that are";
        let unknown = || Refusal::Unknown {
            what: "token",
            name: shown(id),
            hint,
        };
        let token: TokenId = id.parse().map_err(|_| unknown())?;
        self.write(network, |network, batch| {
            if !network.tokens.contains_key(&token) {
                return Err(unknown());
            }
            let deed = match how.with_nodes {
                true => Deed::RevokeTokenAndNodes { token },
                false => Deed::RevokeToken { token },
            };
            let act = network.act(deed, how.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let came_by_it = network
                .nodes
                .iter()
                .filter(|(_, node)| how.with_nodes && node.token() == token);
            let gone: Vec<NodeId> = came_by_it.map(|(id, _)| *id).collect();
            network.block_names(&gone, batch);
            network.forget_nodes(&gone, batch);
            let message = match how.with_nodes {
                true => format!(
                    "token {token} is revoked, and {} node(s) that came by it are removed",
                    gone.len()
                ),
                false => format!("token {token} is revoked; the nodes that came by it stay"),
            };
            let last = notice(
                "removed",
                "an admin revoked the token by which this node came, and removed it",
            );
            let effect = Effect::audited(network, &message).with_gone(gone, &last);
            Ok((Done { message }, effect))
        })
    }
}

/// What a token offers.
pub(super) struct Offer {
    /// Terms of its nodes.
    pub terms: Terms,
    /// What it fixes.
    pub fixed: Fixed,
    /// How often and how long.
    pub limits: Limits,
}

impl Network {
    /// Signs a delegation for a new token; also its join key.
    fn delegate(&self, offer: Offer) -> Result<(Signed<Delegation>, JoinSecret), Refusal> {
        let (root, serial) = self.root_and_serial()?;
        let secret = JoinSecret::from_seed(&random::<32>());
        let (token, join) = (TokenId::from_bytes(*random::<8>()), secret.public());
        let Offer { terms, fixed, limits } = offer;
        let plain = Delegation {
            network: self.id,
            token,
            join,
            serial,
            terms,
            fixed,
            limits,
        };
        Ok((Signed::sign(plain, root)?, secret))
    }

    fn check_new_token(&self, delegation: &Delegation) -> Result<(), Refusal> {
        check_delegation(delegation, self.params.value().ipv4)?;
        self.check_serial(delegation.serial)?;
        if delegation.network != self.id || self.tokens.contains_key(&delegation.token) {
            let text = "the delegation is another network's, or its token id is in use";
            return Err(Refusal::Invalid(text.into()));
        }
        Ok(())
    }

    fn token_info(&self, id: TokenId) -> Option<TokenInfo> {
        let token = self.tokens.get(&id)?;
        let Delegation {
            terms, fixed, limits, ..
        } = token.delegation.value().clone();
        let expired = limits.not_after.is_some_and(|end| end <= unix_now());
        let state = match () {
            () if self.effects.revoked(id) => "revoked",
            () if expired => "expired",
            () if limits.uses.is_some_and(|uses| uses <= token.used) => "used-up",
            () => "valid",
        };
        let replaces = fixed.replaces.map(|node| match self.nodes.get(&node) {
            Some(held) => self.name_of(node, held).to_owned(),
            None => node.to_string(),
        });
        Some(TokenInfo {
            id: id.to_string(),
            state: state.into(),
            used: token.used,
            uses: limits.uses,
            expires: limits.not_after,
            tags: terms.tags,
            ephemeral: terms.ephemeral,
            approval: terms.approval,
            hostname: fixed.host_name,
            ip: fixed.ipv4,
            listen_port: fixed.listen_port,
            template: terms.template,
            replaces,
        })
    }

    /// Blocks the names of nodes whose removal is no act that names them.
    fn block_names(&mut self, nodes: &[NodeId], batch: &mut Batch) {
        let now = unix_now();
        let over: Vec<String> = self
            .blocks
            .iter()
            .filter(|(_, b)| b.until <= now)
            .map(|(n, _)| n.clone())
            .collect();
        for name in over {
            batch.delete(Table::Blocks, rows::block_key(&self.id, &name));
            self.blocks.remove(&name);
        }
        let until = now.saturating_add(BLOCKED_SECONDS);
        for id in nodes {
            let Some(node) = self.nodes.get(id) else { continue };
            let name = self.name_of(*id, node).to_owned();
            let row = BlockRow {
                node: id.to_string(),
                until,
            };
            batch.put(
                Table::Blocks,
                rows::block_key(&self.id, &name),
                rows::encode(&row),
            );
            self.blocks.insert(name, Block { node: *id, until });
        }
    }
}
