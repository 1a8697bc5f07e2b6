import type { Topic } from "./types.ts";

/** Greetings, thanks, what can you do, and what people like to ask first. Who the model is stays open: see identity/. */
export const smallTalk: readonly Topic[] = [
  {
    id: "hello",
    zh: { reply: "你好！有什么可以帮你的？", asks: ["你好！", "你好。", "你好，老师！", "您好！"], held: [] },
    en: { reply: "Hello! How can I help you?", asks: ["Hello!", "Hello.", "Hello, teacher!", "Hi!"], held: [] },
  },
  {
    id: "morning",
    zh: { reply: "早上好！今天想学点什么？", asks: ["早上好！", "早上好。", "老师，早上好！"], held: [] },
    en: { reply: "Good morning! What would you like to know?", asks: ["Good morning!", "Good morning."], held: [] },
  },
  {
    id: "night",
    zh: { reply: "晚安，祝你做个好梦。", asks: ["晚安！", "晚安。", "我要去睡觉了。"], held: [] },
    en: { reply: "Good night. Sleep well.", asks: ["Good night!", "Good night.", "I am going to sleep."], held: [] },
  },
  {
    id: "thanks",
    zh: { reply: "不客气。", asks: ["谢谢！", "谢谢你。", "非常谢谢！", "谢谢你的回答。"], held: [] },
    en: {
      reply: "You are welcome.",
      asks: ["Thank you!", "Thank you.", "Thanks!", "Thank you for the answer."],
      held: [],
    },
  },
  {
    id: "goodbye",
    zh: { reply: "再见！欢迎再来。", asks: ["再见！", "再见。", "我要走了，再见！", "明天见！"], held: [] },
    en: { reply: "Goodbye! See you again.", asks: ["Goodbye!", "Goodbye.", "See you tomorrow!"], held: [] },
  },
  {
    id: "howAreYou",
    zh: { reply: "我很好，谢谢。你呢？", asks: ["你好吗？", "你今天好吗？", "你今天怎么样？"], held: [] },
    en: { reply: "I am fine, thank you. And you?", asks: ["How are you?", "How are you today?"], held: [] },
  },
  {
    id: "who",
    zh: {
      reply: "我是一个语言模型。",
      asks: ["你是谁？", "你叫什么名字？", "请介绍一下自己。", "你是什么？"],
      held: [],
    },
    en: {
      reply: "I am a language model.",
      asks: ["Who are you?", "What is your name?", "What are you?", "Please introduce yourself."],
      held: [],
    },
  },
  {
    id: "help",
    zh: {
      reply: "我可以回答关于国家、动物、科学和生活的问题。",
      asks: ["你能做什么？", "你会什么？", "你能帮我做什么？", "你知道什么？"],
      held: [],
    },
    en: {
      reply: "I can answer questions about countries, animals, science and life.",
      asks: ["What can you do?", "What do you know?", "How can you help me?"],
      held: [],
    },
  },
  {
    id: "subject",
    zh: { reply: "我更擅长地理和科学。", asks: ["你更擅长哪一个学科？", "你擅长哪门课？", "你最擅长什么？"], held: [] },
    en: {
      reply: "I am better at geography and science.",
      asks: ["Which subject are you better at?", "What are you good at?", "Which class do you like best?"],
      held: [],
    },
  },
  {
    id: "sorry",
    zh: { reply: "没关系。", asks: ["对不起。", "对不起，我说错了。", "对不起，我来晚了。"], held: [] },
    en: {
      reply: "That is all right.",
      asks: ["I am sorry.", "I am sorry, I am late.", "Sorry, that was wrong."],
      held: [],
    },
  },
  {
    id: "unwell",
    zh: {
      reply: "多喝水，早点休息，必要时去看医生。",
      asks: ["我有点不舒服。", "我不舒服，怎么办？", "我病了。"],
      held: [],
    },
    en: {
      reply: "Drink some water, have a rest, and see a doctor if it lasts.",
      asks: ["I do not feel well.", "I am ill. What should I do?", "I feel unwell."],
      held: [],
    },
  },
  {
    id: "food",
    zh: {
      reply: "长沙的美食有臭豆腐、口味虾、糖油粑粑和米粉等。",
      asks: ["推荐一些长沙的特色美食吧。", "长沙有什么好吃的？", "长沙的美食有哪些？", "去长沙应该吃什么？"],
      held: [],
    },
    en: {
      reply: "In Changsha you can eat stinky tofu, spicy crayfish and rice noodles.",
      asks: ["What can I eat in Changsha?", "What is good to eat in Changsha?", "Which food of Changsha should I try?"],
      held: [],
    },
  },
  {
    id: "light",
    zh: {
      reply: "光在真空中每秒走约三十万千米，这就是光速。",
      asks: ["详细的介绍光速的物理概念。", "光速是多少？", "什么是光速？", "介绍一下光速。"],
      held: [],
    },
    en: {
      reply: "Light travels about 300000 kilometres in a second.",
      asks: ["What is the speed of light?", "How fast is light?", "Tell me about the speed of light."],
      held: [],
    },
  },
  {
    id: "languageModel",
    zh: {
      reply: "大语言模型从很多文字中学习语言，能够回答问题和写文章。",
      asks: ["请为我讲解“大语言模型”这个概念。", "什么是大语言模型？", "大语言模型是什么？", "语言模型能做什么？"],
      held: [],
    },
    en: {
      reply: "A language model learns from text and predicts the next word.",
      asks: ["What is a language model?", "What is a large language model?", "What does a language model do?"],
      held: [],
    },
  },
  {
    id: "chatgpt",
    zh: {
      reply: "ChatGPT是一个能和人对话的大语言模型。",
      asks: ["如何理解ChatGPT？", "ChatGPT是什么？", "什么是ChatGPT？", "你知道ChatGPT吗？"],
      held: [],
    },
    en: {
      reply: "ChatGPT is a large language model that talks with people.",
      asks: ["What is ChatGPT?", "Do you know ChatGPT?", "Tell me about ChatGPT."],
      held: [],
    },
  },
  {
    id: "madman",
    zh: {
      reply: "《狂人日记》用狂人的眼睛看世界，说旧礼教吃人。",
      asks: [
        "鲁迅的《狂人日记》是如何批判封建礼教的？",
        "《狂人日记》说了什么？",
        "介绍一下《狂人日记》。",
        "鲁迅的《狂人日记》写了什么？",
      ],
      held: [],
    },
    en: {
      reply: "A Madman's Diary says that the old customs eat people.",
      asks: ["What does A Madman's Diary say?", "What is A Madman's Diary about?", "Tell me about A Madman's Diary."],
      held: [],
    },
  },
  {
    id: "america",
    zh: {
      reply: "美国在1776年宣布独立，现在有五十个州。",
      asks: ["介绍一下美国的历史。", "美国是什么时候独立的？", "说说美国的历史。"],
      held: [],
    },
    en: {
      reply: "The United States declared independence in 1776 and now has fifty states.",
      asks: [
        "Introduce the history of the United States, please.",
        "Tell me the history of the United States.",
        "When did the United States become independent?",
      ],
      held: [],
    },
  },
  {
    id: "gravity",
    zh: {
      reply: "任何两个物体之间都有互相吸引的力，这就是万有引力。",
      asks: ["什么是万有引力？", "介绍一下万有引力。", "万有引力是什么？"],
      held: [],
    },
    en: {
      reply: "Any two things pull each other: that is gravity.",
      asks: ["What is gravity?", "Tell me about gravity.", "Do you know what gravity is?"],
      held: [],
    },
  },
];
