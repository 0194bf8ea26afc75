//! How attestations stand on each other, as far as signatures cover it.

use std::collections::BTreeSet;

use crate::wire::verify::{AttestationGraph, GraphEdge, GraphNode, KeyLayer, SignatureLayer};

pub(super) fn of(layer1: &SignatureLayer, layer2: &KeyLayer) -> AttestationGraph {
    let mut graph = AttestationGraph::default();
    for (signed, logged) in layer1.attestations.iter().zip(&layer2.attestations) {
        graph.nodes.push(GraphNode {
            id: signed.attestation_id,
            listed: true,
            attestation_type: Some(signed.attestation_type.clone()),
            signer_key_fingerprint: Some(signed.signer_key_fingerprint),
            status: Some(signed.status.max(logged.status)),
        });
        let to = signed.attestation_id;
        graph.edges.extend(signed.parents.iter().map(|from| GraphEdge { from: *from, to }));
    }
    let listed: BTreeSet<_> = graph.nodes.iter().map(|node| node.id).collect();
    let named: BTreeSet<_> = graph.edges.iter().map(|edge| edge.from).collect();
    graph.nodes.extend(named.difference(&listed).map(|id| GraphNode {
        id: *id,
        listed: false,
        attestation_type: None,
        signer_key_fingerprint: None,
        status: None,
    }));
    graph
}
