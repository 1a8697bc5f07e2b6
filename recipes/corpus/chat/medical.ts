import type { Topic } from "./types.ts";

/** Everyday questions on health with careful replies: what is harmless to advise, and when to see a doctor. */
export const medical: readonly Topic[] = [
  {
    id: "cough",
    zh: {
      reply: "咳嗽超过两周，应该去医院检查。",
      asks: [
        "我咳嗽两周了，怎么办？",
        "咳嗽两周要去医院吗？",
        "我一直咳嗽，怎么办？",
        "咳嗽很久不好，怎么办？",
        "咳嗽了半个月，要看医生吗？",
      ],
      held: ["我咳嗽已经持续了两周，需要去医院检查吗？", "我咳嗽很久了，要去医院吗？"],
    },
    en: {
      reply: "A cough that lasts over two weeks should be checked by a doctor.",
      asks: [
        "I have had a cough for two weeks. What should I do?",
        "My cough does not go away. What should I do?",
        "Should I see a doctor about a long cough?",
        "I cough all the time. What should I do?",
        "Is a cough of two weeks bad?",
      ],
      held: ["I have had a cough for two weeks. Should I see a doctor?", "What should I do about a long cough?"],
    },
  },
  {
    id: "fever",
    zh: {
      reply: "发烧要多喝水、多休息，高烧不退应该去医院。",
      asks: [
        "我发烧了，怎么办？",
        "发烧怎么办？",
        "发烧要去医院吗？",
        "发烧的时候应该做什么？",
        "我有点发烧，要做什么？",
      ],
      held: ["请问发烧了应该怎么办？", "我发烧了，要去医院吗？"],
    },
    en: {
      reply: "With a fever, drink water and rest, and see a doctor if it stays high.",
      asks: [
        "I have a fever. What should I do?",
        "What should I do about a fever?",
        "What helps with a fever?",
        "Should I see a doctor about a fever?",
        "What do people do when they have a fever?",
      ],
      held: ["I have a fever. Should I see a doctor?", "What can I do about a fever?"],
    },
  },
  {
    id: "cold",
    zh: {
      reply: "感冒要多喝水、多休息，一周不好应该看医生。",
      asks: ["我感冒了，怎么办？", "感冒怎么办？", "感冒要看医生吗？", "感冒的时候应该做什么？", "感冒了要做什么？"],
      held: ["请问感冒了应该怎么办？", "我感冒了，要看医生吗？"],
    },
    en: {
      reply: "With a cold, drink water and rest, and see a doctor if it lasts a week.",
      asks: [
        "I have a cold. What should I do?",
        "What should I do about a cold?",
        "What helps with a cold?",
        "Should I see a doctor about a cold?",
        "What do people do when they have a cold?",
      ],
      held: ["I have a cold. Should I see a doctor?", "What can I do about a cold?"],
    },
  },
  {
    id: "headache",
    zh: {
      reply: "头疼先休息一下，经常头疼应该看医生。",
      asks: [
        "我头疼，怎么办？",
        "头疼怎么办？",
        "头疼要看医生吗？",
        "头疼的时候应该做什么？",
        "我的头很疼，要做什么？",
      ],
      held: ["请问头疼应该怎么办？", "我头疼，要看医生吗？"],
    },
    en: {
      reply: "With a headache, rest first, and see a doctor if it comes often.",
      asks: [
        "I have a headache. What should I do?",
        "What should I do about a headache?",
        "What helps with a headache?",
        "Should I see a doctor about a headache?",
        "My head hurts. What should I do?",
      ],
      held: ["I have a headache. Should I see a doctor?", "What can I do about a headache?"],
    },
  },
  {
    id: "sleep",
    zh: {
      reply: "成年人每天应该睡七到八个小时。",
      asks: [
        "每天应该睡多久？",
        "成年人要睡几个小时？",
        "一天睡多少小时好？",
        "人每天要睡多久？",
        "我每天应该睡几个小时？",
      ],
      held: ["请问成年人每天应该睡多久？", "每天睡几个小时好？"],
    },
    en: {
      reply: "Adults should sleep seven to eight hours a day.",
      asks: [
        "How long should I sleep?",
        "How many hours should adults sleep?",
        "How much sleep do I need?",
        "How many hours of sleep are good?",
        "How long should people sleep every day?",
      ],
      held: ["How many hours should I sleep?", "How much sleep do adults need?"],
    },
  },
  {
    id: "insomnia",
    zh: {
      reply: "睡前不要喝咖啡，也不要看手机，长期睡不着应该看医生。",
      asks: [
        "我睡不着，怎么办？",
        "睡不着怎么办？",
        "晚上睡不着，应该做什么？",
        "我总是睡不着，要看医生吗？",
        "怎样才能睡得好？",
      ],
      held: ["请问晚上睡不着怎么办？", "我睡不着，应该做什么？"],
    },
    en: {
      reply: "Leave coffee and the phone before bed, and see a doctor if you often cannot sleep.",
      asks: [
        "I cannot sleep. What should I do?",
        "What should I do when I cannot sleep?",
        "What helps when I cannot sleep?",
        "I often cannot sleep at night. What can I do?",
        "How can I sleep better?",
      ],
      held: ["What can I do when I cannot sleep?", "I cannot sleep at night. What should I do?"],
    },
  },
  {
    id: "water",
    zh: {
      reply: "一般每天喝七到八杯水，天热时多喝一些。",
      asks: ["每天应该喝多少水？", "一天要喝几杯水？", "人每天要喝多少水？", "我应该喝多少水？", "一天喝多少水好？"],
      held: ["请问每天应该喝几杯水？", "一天应该喝多少水？"],
    },
    en: {
      reply: "Drink about seven or eight cups of water a day, more when it is hot.",
      asks: [
        "How much water should I drink?",
        "How many cups of water should I drink a day?",
        "How much water do people need?",
        "How much water a day is good?",
        "Should I drink a lot of water?",
      ],
      held: ["How much water should I drink a day?", "How many cups of water do people need?"],
    },
  },
  {
    id: "sport",
    zh: {
      reply: "每天运动半个小时左右，对身体很好。",
      asks: [
        "每天应该运动多久？",
        "一天要运动多长时间？",
        "我应该运动多久？",
        "运动对身体好吗？",
        "人每天要运动多久？",
      ],
      held: ["请问每天要运动多长时间？", "一天应该运动多久？"],
    },
    en: {
      reply: "Half an hour of sport a day is good for the body.",
      asks: [
        "How much sport should I do?",
        "How long should I do sport every day?",
        "Is sport good for the body?",
        "How much sport a day is good?",
        "How much sport do people need?",
      ],
      held: ["How much sport should I do a day?", "How long should people do sport every day?"],
    },
  },
  {
    id: "teeth",
    zh: {
      reply: "早晚都要刷牙，牙疼应该看牙医。",
      asks: ["一天要刷几次牙？", "我牙疼，怎么办？", "牙疼怎么办？", "怎样保护牙？", "什么时候要刷牙？"],
      held: ["请问牙疼应该怎么办？", "一天应该刷几次牙？"],
    },
    en: {
      reply: "Brush your teeth every morning and evening, and see a dentist if they hurt.",
      asks: [
        "How often should I brush my teeth?",
        "My teeth hurt. What should I do?",
        "How can I look after my teeth?",
        "When should I brush my teeth?",
        "How many times a day should I brush my teeth?",
      ],
      held: ["How often a day should I brush my teeth?", "What should I do when my teeth hurt?"],
    },
  },
  {
    id: "wound",
    zh: {
      reply: "小伤口用清水洗干净，再贴好，伤口深要去医院。",
      asks: [
        "我的手破了，怎么办？",
        "小伤口怎么办？",
        "有了伤口应该做什么？",
        "伤口要去医院吗？",
        "手上有伤口怎么办？",
      ],
      held: ["请问有了小伤口怎么办？", "我的手有伤口，要去医院吗？"],
    },
    en: {
      reply: "Wash a small cut with clean water and cover it; a deep cut needs a doctor.",
      asks: [
        "I have cut my hand. What should I do?",
        "What should I do about a cut?",
        "What helps with a small cut?",
        "Should I see a doctor about a cut?",
        "There is a cut on my hand. What now?",
      ],
      held: ["What can I do about a small cut?", "I have a cut on my hand. What should I do?"],
    },
  },
  {
    id: "medicine",
    zh: {
      reply: "吃药要听医生的话，不要自己多吃。",
      asks: ["药可以多吃吗？", "吃药要注意什么？", "我可以自己吃药吗？", "药应该怎么吃？", "多吃药好得快吗？"],
      held: ["请问吃药应该注意什么？", "药可以自己多吃吗？"],
    },
    en: {
      reply: "Take medicine as your doctor says, and never more than that.",
      asks: [
        "How should I take medicine?",
        "Can I take more medicine?",
        "Does more medicine help faster?",
        "What should I know about medicine?",
        "May I take medicine on my own?",
      ],
      held: ["Can I take medicine on my own?", "What should I know when I take medicine?"],
    },
  },
  {
    id: "chest",
    zh: {
      reply: "胸口疼可能很危险，请马上去医院。",
      asks: [
        "我胸口疼，怎么办？",
        "胸口疼怎么办？",
        "胸口疼要去医院吗？",
        "胸口疼很危险吗？",
        "我的胸口很疼，要做什么？",
      ],
      held: ["请问胸口疼应该怎么办？", "我胸口疼，要去医院吗？"],
    },
    en: {
      reply: "Chest pain can be dangerous: go to a hospital at once.",
      asks: [
        "My chest hurts. What should I do?",
        "What should I do about chest pain?",
        "Is chest pain dangerous?",
        "I have chest pain. What now?",
        "Should I go to a hospital with chest pain?",
      ],
      held: ["I have chest pain. What should I do?", "Should I see a doctor about chest pain?"],
    },
  },
];
