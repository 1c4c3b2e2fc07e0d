// OpenAI's own client for JavaScript: completions, chat, streams, responses, embeddings, models.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [
  { role: "system", content: "Be kind." },
  { role: "user", content: "Hello, how are you?" },
];
const sampling = { model, seed: 7, temperature: 0.9 };

const completion = await client.completions.create({
  ...sampling, prompt: "It was a dark and", max_tokens: 8, logprobs: 2,
});
assert.ok(completion.choices[0].text.length > 0);
assert.equal(completion.choices[0].logprobs.tokens.length, completion.usage.completion_tokens);

const chat = { ...sampling, messages, max_completion_tokens: 16 };
const whole = await client.chat.completions.create(chat);
const parts = [];
for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
  parts.push(chunk.choices[0]?.delta?.content ?? "");
}
assert.ok(parts.length > 2);
assert.equal(parts.join(""), whole.choices[0].message.content);

const first = await client.responses.create({
  ...sampling, input: "Hello, how are you?", max_output_tokens: 16,
});
assert.ok(first.output_text.length > 0);
const second = await client.responses.create({
  ...sampling, input: "And then?", previous_response_id: first.id, max_output_tokens: 16,
});
const stream = client.responses.stream({
  ...sampling, input: "And then?", previous_response_id: first.id, max_output_tokens: 16,
});
let streamed = "";
stream.on("response.output_text.delta", (event) => { streamed += event.delta; });
const last = await stream.finalResponse();
assert.equal(streamed, second.output_text);
assert.equal(last.output_text, second.output_text);
const third = await client.responses.create({
  ...sampling, input: "Why?", previous_response_id: last.metadata.previous_response_id,
  max_output_tokens: 4,
});
assert.equal(third.usage.output_tokens, 4);

// The client asks for base64 and turns it into numbers.
const vectors = await client.embeddings.create({ model, input: ["the cat sat", "on the mat"] });
const lengths = vectors.data.map(({ embedding }) => Math.hypot(...embedding));
assert.ok(lengths.every((length) => Math.abs(length - 1) < 1e-4));

const listed = await client.models.list();
assert.equal(listed.data[0].id, model);
await assert.rejects(
  client.chat.completions.create({ ...chat, temperature: 3 }),
  (error) => error.status === 400 && error.param === "temperature",
);
console.log("ok");
