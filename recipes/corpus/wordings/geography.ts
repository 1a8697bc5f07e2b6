import type { geography } from "../facts/geography.ts";
import type { Wordings } from "./types.ts";

export const geographyWordings = {
  capital: {
    zh: [
      { say: "{s}的首都是{o}。" },
      { say: "{o}是{s}的首都。" },
      { ask: "{s}的首都是哪里？", reply: "{s}的首都是{o}。" },
      { ask: "{s}的首都叫什么名字？", reply: "叫{o}。" },
      { ask: "{o}是哪个国家的首都？", reply: "{o}是{s}的首都。" },
      { ask: "请问{s}的首都是哪座城市？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: "The capital of {s} is {o}." },
      { say: "{o} is the capital of {s}." },
      { ask: "What is the capital of {s}?", reply: "The capital of {s} is {o}." },
      { ask: "Which city is the capital of {s}?", reply: "It is {o}." },
      { ask: "Can you tell me the capital of {s}?", reply: "The capital is {o}.", held: true },
    ],
  },
  continent: {
    zh: [
      { say: "{s}位于{o}。" },
      { say: "{s}是{o}的一个国家。" },
      { ask: "{s}在哪个大洲？", reply: "{s}在{o}。" },
      { ask: "{s}位于哪里？", reply: "位于{o}。" },
      { ask: "请问{s}是哪个大洲的国家？", reply: "{s}位于{o}。", held: true },
    ],
    en: [
      { say: "{s} is in {o}." },
      { say: "{s} is a country in {o}." },
      { ask: "Which continent is {s} in?", reply: "{s} is in {o}." },
      { ask: "On which continent is {s}?", reply: "It is in {o}." },
      { ask: "Where in the world is {s}?", reply: "{s} is a country in {o}.", held: true },
    ],
  },
  language: {
    zh: [
      { say: "{s}人主要说{o}。" },
      { say: "在{s}，人们说{o}。" },
      { ask: "{s}人说什么语言？", reply: "{s}人主要说{o}。" },
      { ask: "{s}人主要说什么语言？", reply: "说{o}。" },
      { ask: "请问在{s}，人们说什么语言？", reply: "人们说{o}。", held: true },
    ],
    en: [
      { say: "Most people in {s} speak {o}." },
      { say: "{o} is spoken in {s}." },
      { ask: "What language do people speak in {s}?", reply: "Most people in {s} speak {o}." },
      { ask: "Which language is spoken in {s}?", reply: "It is {o}." },
      { ask: "What do most people in {s} speak?", reply: "They speak {o}.", held: true },
    ],
  },
  currency: {
    zh: [
      { say: "{s}的货币是{o}。" },
      { say: "在{s}，人们使用{o}。" },
      { ask: "{s}的货币是什么？", reply: "{s}的货币是{o}。" },
      { ask: "{s}使用什么货币？", reply: "使用{o}。" },
      { ask: "请问在{s}，人们使用什么货币？", reply: "人们使用{o}。", held: true },
    ],
    en: [
      { say: "The currency of {s} is {o}." },
      { say: "People in {s} pay with {o}." },
      { ask: "What is the currency of {s}?", reply: "The currency of {s} is {o}." },
      { ask: "Which currency is used in {s}?", reply: "It is {o}." },
      { ask: "What do people in {s} pay with?", reply: "They pay with {o}.", held: true },
    ],
  },
  province: {
    zh: [
      { say: "{s}省的省会是{o}。" },
      { say: "{o}是{s}省的省会。" },
      { ask: "{s}省的省会是哪里？", reply: "{s}省的省会是{o}。" },
      { ask: "{o}是哪个省的省会？", reply: "{o}是{s}省的省会。" },
      { ask: "请问{s}省的省会是哪座城市？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: "The capital of {s} Province is {o}." },
      { say: "{o} is the capital of {s} Province." },
      { ask: "What is the capital of {s} Province?", reply: "It is {o}." },
      { ask: "Which city is the capital of {s} Province?", reply: "The capital of {s} Province is {o}." },
      { ask: "Can you tell me the capital of {s} Province?", reply: "The capital is {o}.", held: true },
    ],
  },
  landmark: {
    zh: [
      { say: "{s}在{o}。" },
      { say: "想看{s}，就要去{o}。" },
      { ask: "{s}在哪里？", reply: "{s}在{o}。" },
      { ask: "去哪里可以看到{s}？", reply: "去{o}。" },
      { ask: "请问想看{s}要去哪里？", reply: "要去{o}。", held: true },
    ],
    en: [
      { say: "{s} is in {o}." },
      { say: "You can see {s} in {o}." },
      { ask: "Where is {s}?", reply: "{s} is in {o}." },
      { ask: "Where can you see {s}?", reply: "In {o}." },
      { ask: "Can you tell me where {s} is?", reply: "It is in {o}.", held: true },
    ],
  },
  river: {
    zh: [
      { say: "{s}是{o}的一条大河。" },
      { say: "{s}流经{o}。" },
      { ask: "{s}在哪个大洲？", reply: "{s}在{o}。" },
      { ask: "{s}流经哪个大洲？", reply: "流经{o}。" },
      { ask: "请问{s}是哪个大洲的大河？", reply: "{s}流经{o}。", held: true },
    ],
    en: [
      { say: "{s} is a great river in {o}." },
      { say: "{s} flows through {o}." },
      { ask: "Which continent does {s} flow through?", reply: "{s} flows through {o}." },
      { ask: "Where does {s} flow?", reply: "It flows through {o}." },
      { ask: "On which continent is the river called {s}?", reply: "It is in {o}.", held: true },
    ],
  },
  record: {
    zh: [
      { say: "{s}是{o}。" },
      { say: "{o}是{s}。" },
      { ask: "{s}是什么？", reply: "{s}是{o}。" },
      { ask: "{s}叫什么名字？", reply: "叫{o}。" },
      { ask: "你知道{s}吗？", reply: "我知道，{s}是{o}。" },
      { ask: "请问{s}是哪一个？", reply: "是{o}。", held: true },
    ],
    en: [
      { say: "{s} is {o}." },
      { say: "{o} is {s}." },
      { ask: "What is {s}?", reply: "It is {o}." },
      { ask: "What is {s} called?", reply: "{s} is {o}." },
      { ask: "Can you name {s}?", reply: "It is {o}.", held: true },
    ],
  },
} as const satisfies Record<keyof typeof geography, Wordings>;
