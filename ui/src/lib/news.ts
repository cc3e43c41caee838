// What a screen reader should hear when the house changes: one sentence per machine, question or contact, nothing about numbers.
import { nodeFace } from './faces';
import type { Snapshot } from './types/Snapshot';
import { words } from './words';

/** The sentences for what changed between two snapshots. The first snapshot is no news. */
export function news(before: Snapshot | null, after: Snapshot): string[] {
  if (before === null) return [];
  const known = new Map(before.nodes.map((node) => [node.name, node]));
  const said: string[] = [];
  for (const node of after.nodes) {
    const was = known.get(node.name);
    const { says } = nodeFace(node, after.at_ms);
    if (!was) said.push(words.node.added(node.name));
    else if (nodeFace(was, before.at_ms).says !== says) said.push(words.node.nowState(node.name, says));
    known.delete(node.name);
  }
  for (const name of known.keys()) said.push(words.node.gone(name));
  // Two questions about one machine, one soon after the other, are told apart by their ends.
  const asked = new Set(before.prompts.map((prompt) => JSON.stringify(prompt)));
  for (const prompt of after.prompts) {
    if (!asked.has(JSON.stringify(prompt))) said.push(words.prompt.said(words.prompt.title(prompt.node), words.prompt.asks(prompt.client, prompt.model)));
  }
  const problems = new Set(before.problems.map((problem) => `${problem.code} ${problem.node ?? ''}`));
  for (const problem of after.problems) {
    if (!problems.has(`${problem.code} ${problem.node ?? ''}`)) said.push(problem.message);
  }
  return said;
}
